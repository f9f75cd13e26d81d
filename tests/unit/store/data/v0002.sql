-- A small store as version 0002 of the schema wrote it: never edit it, so that old ledgers stay readable.
BEGIN TRANSACTION;
CREATE TABLE attempt (
	branch INTEGER NOT NULL, 
	"key" BLOB NOT NULL, 
	id BLOB NOT NULL, 
	edit_key BLOB NOT NULL, 
	decision TEXT NOT NULL, 
	revision BLOB, 
	at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_attempt PRIMARY KEY (branch, "key"), 
	CONSTRAINT fk_attempt_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "attempt" VALUES(2,X'006B',X'01A204B4F1427AEF818B88E9119F7F37',X'0065','accept',X'01A204B4F143702D9A1ED677340460A4',1767323045678,'{"proposer":"p@1","heads":{},"evidence":["f"],"verdict":{"decision":"accept","basis":"human","reason":"a person wrote it"}}');
CREATE TABLE branch (
	id INTEGER NOT NULL, 
	agent TEXT NOT NULL, 
	tenant TEXT NOT NULL, 
	user TEXT NOT NULL, 
	name TEXT NOT NULL, 
	dropped INTEGER NOT NULL, 
	parent INTEGER, 
	fork INTEGER NOT NULL, 
	CONSTRAINT pk_branch PRIMARY KEY (id), 
	CONSTRAINT fk_branch_parent FOREIGN KEY(parent) REFERENCES branch (id), 
	CONSTRAINT uq_branch_agent_tenant_user_name_dropped UNIQUE (agent, tenant, user, name, dropped)
);
INSERT INTO "branch" VALUES(1,'desk','','','',0,NULL,0);
INSERT INTO "branch" VALUES(2,'desk','acme','alice','',0,NULL,0);
INSERT INTO "branch" VALUES(3,'desk','acme','','',0,NULL,0);
INSERT INTO "branch" VALUES(4,'desk','acme','','canary/01a204b4f15679a6ac0cfb55d447810a',0,3,0);
CREATE TABLE canary (
	branch INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	at BIGINT NOT NULL, 
	live SMALLINT NOT NULL, 
	revision BLOB NOT NULL, 
	promoted BLOB, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_canary PRIMARY KEY (branch, id), 
	CONSTRAINT fk_canary_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "canary" VALUES(3,X'01A204B4F16278EABA0AAFCABF2F2963',1767323045678,0,X'01A204B4F15C76DA8E98015D95C0BFC4',NULL,'{"branch":"canary/01a204b4f15679a6ac0cfb55d447810a","share":0.05,"rate":0.7,"state":"stopped","reason":"it harmed"}');
CREATE TABLE entry (
	branch INTEGER NOT NULL, 
	born INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	died INTEGER, 
	kind SMALLINT NOT NULL, 
	doc TEXT NOT NULL, 
	pos INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	"trigger" TEXT, 
	origin SMALLINT NOT NULL, 
	status SMALLINT NOT NULL, 
	valid_until BIGINT, 
	supersedes BLOB, 
	CONSTRAINT pk_entry PRIMARY KEY (branch, born, id), 
	CONSTRAINT fk_entry_branch FOREIGN KEY(branch) REFERENCES branch (id)
)
 WITHOUT ROWID

;
INSERT INTO "entry" VALUES(1,1,X'01A204B4F11771F2B906AF9BAD6346F0',NULL,1,'rules',0,'shared',NULL,4,0,NULL,NULL);
INSERT INTO "entry" VALUES(1,1,X'01A204B4F11772C180AB2B182EF7DF60',NULL,1,'rules',0,'own',NULL,4,0,NULL,NULL);
INSERT INTO "entry" VALUES(2,1,X'01A204B4F11772C180AB2B182EF7DF60',NULL,1,'rules',0,'as alice says',NULL,4,0,NULL,NULL);
INSERT INTO "entry" VALUES(2,2,X'01A204B4F14279A1810AA796BD242684',NULL,1,'rules',0,'more',NULL,4,0,NULL,NULL);
INSERT INTO "entry" VALUES(4,1,X'01A204B4F15A79229BBCAE2B5A38721A',NULL,1,'rules',0,'watched',NULL,4,0,NULL,NULL);
CREATE TABLE episode (
	branch INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_episode PRIMARY KEY (branch, id), 
	CONSTRAINT fk_episode_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "episode" VALUES(2,X'0065',1767323045678,'{"heads":{},"request":{"messages":[{"role":"user","text":"where is my card?"}]},"run":{"output":"Falcon"}}');
CREATE TABLE feedback (
	branch INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_feedback PRIMARY KEY (branch, id), 
	CONSTRAINT fk_feedback_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "feedback" VALUES(2,X'0066',1767323045678,'{"episode":"e","principal":"ann","signal":"correction","value":"Heron"}');
CREATE TABLE head (
	branch INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	CONSTRAINT pk_head PRIMARY KEY (branch), 
	CONSTRAINT fk_head_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "head" VALUES(1,1);
INSERT INTO "head" VALUES(2,2);
INSERT INTO "head" VALUES(3,0);
INSERT INTO "head" VALUES(4,1);
CREATE TABLE name (
	id INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	CONSTRAINT pk_name PRIMARY KEY (id), 
	CONSTRAINT uq_name_text UNIQUE (text)
);
INSERT INTO "name" VALUES(1,'tester');
INSERT INTO "name" VALUES(2,'');
CREATE TABLE outcome (
	branch INTEGER NOT NULL, 
	"key" BLOB NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_outcome PRIMARY KEY (branch, "key"), 
	CONSTRAINT fk_outcome_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
CREATE TABLE provenance (
	branch INTEGER NOT NULL, 
	source BLOB NOT NULL, 
	seq INTEGER NOT NULL, 
	role SMALLINT NOT NULL, 
	CONSTRAINT pk_provenance PRIMARY KEY (branch, source, seq, role), 
	CONSTRAINT fk_provenance_branch FOREIGN KEY(branch) REFERENCES branch (id)
)
 WITHOUT ROWID

;
INSERT INTO "provenance" VALUES(1,X'0065',1,0);
INSERT INTO "provenance" VALUES(2,X'0065',1,0);
INSERT INTO "provenance" VALUES(2,X'0066',1,0);
INSERT INTO "provenance" VALUES(2,X'0067',1,1);
CREATE TABLE reading (
	branch INTEGER NOT NULL, 
	canary BLOB NOT NULL, 
	seq INTEGER NOT NULL, 
	episode BLOB NOT NULL, 
	treated SMALLINT NOT NULL, 
	score FLOAT NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_reading PRIMARY KEY (branch, canary, seq), 
	CONSTRAINT fk_reading_branch FOREIGN KEY(branch) REFERENCES branch (id), 
	CONSTRAINT fk_reading_branch_canary FOREIGN KEY(branch, canary) REFERENCES canary (branch, id), 
	CONSTRAINT uq_reading_branch_canary_episode UNIQUE (branch, canary, episode)
)
 WITHOUT ROWID

;
INSERT INTO "reading" VALUES(3,X'01A204B4F16278EABA0AAFCABF2F2963',1,X'0065',1,0.25,1767323045678);
CREATE TABLE replay_case (
	branch INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_replay_case PRIMARY KEY (branch, id), 
	CONSTRAINT fk_replay_case_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "replay_case" VALUES(2,X'0063',1767323045678,'{"request":{"messages":[]},"grader":{"name":"exact","expected":"Heron","options":{}},"cluster":"c"}');
CREATE TABLE revision (
	branch INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	uid BLOB NOT NULL, 
	at BIGINT NOT NULL, 
	author INTEGER NOT NULL, 
	gate INTEGER NOT NULL, 
	basis SMALLINT NOT NULL, 
	reason TEXT NOT NULL, 
	numbers TEXT NOT NULL, 
	cases BLOB NOT NULL, 
	message TEXT NOT NULL, 
	evidence BLOB NOT NULL, 
	read BLOB NOT NULL, 
	salt BLOB NOT NULL, 
	commitment BLOB NOT NULL, 
	chain BLOB NOT NULL, 
	CONSTRAINT pk_revision PRIMARY KEY (branch, seq), 
	CONSTRAINT fk_revision_branch FOREIGN KEY(branch) REFERENCES branch (id), 
	CONSTRAINT uq_revision_uid UNIQUE (uid), 
	CONSTRAINT fk_revision_author FOREIGN KEY(author) REFERENCES name (id), 
	CONSTRAINT fk_revision_gate FOREIGN KEY(gate) REFERENCES name (id)
);
INSERT INTO "revision" VALUES(1,1,X'01A204B4F11E7A73819B160C798D7D11',1767323045678,1,2,1,'a person wrote it','{}',X'','because',X'020065',X'',X'603C5235E2C577AF48304803E33B1C4C',X'7C8969C65D3B9EDD9E325C7A7DFF57D6',X'7C79A344782969B44CD49CC083120BD2');
INSERT INTO "revision" VALUES(2,1,X'01A204B4F1377163A5A92038B7202A49',1767323045678,1,2,1,'a person wrote it','{}',X'','because',X'020065020066',X'020067',X'90816C6272D56A03629E08D39D8B8C1D',X'05CCDFF90889243C435B8BA6504F376B',X'8FDD66A216910ED3058001967637D0D2');
INSERT INTO "revision" VALUES(2,2,X'01A204B4F143702D9A1ED677340460A4',1767323045678,1,2,1,'a person wrote it','{}',X'','because',X'',X'',X'9E0A3DE57B00312562C219649D4A6B05',X'7589B1ABF9DCAFFE57B9572AEE6C8746',X'4EC3E67E7180041D3A1140B5F6A4942F');
INSERT INTO "revision" VALUES(4,1,X'01A204B4F15C76DA8E98015D95C0BFC4',1767323045678,1,2,1,'a person wrote it','{}',X'','because',X'',X'',X'35B0830B991A19353511A9990B82BE3E',X'DAE58BEC70E8F799D0C35E8FFA4DBC30',X'37D5E58970DE40D0B757F796EDD3B2C8');
CREATE TABLE session (
	branch INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	last_seen BIGINT NOT NULL, 
	heads TEXT NOT NULL, 
	CONSTRAINT pk_session PRIMARY KEY (branch, id), 
	CONSTRAINT fk_session_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "session" VALUES(2,X'0073',1767323045678,'{"base":"01a204b4f11e7a73819b160c798d7d11","user":"01a204b4f143702d9a1ed677340460a4"}');
CREATE TABLE tokenspace_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT tokenspace_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "tokenspace_version" VALUES('0002');
CREATE TABLE tomb (
	branch INTEGER NOT NULL, 
	born INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	died INTEGER, 
	effect SMALLINT NOT NULL, 
	CONSTRAINT pk_tomb PRIMARY KEY (branch, born, id), 
	CONSTRAINT fk_tomb_branch FOREIGN KEY(branch) REFERENCES branch (id)
)
 WITHOUT ROWID

;
CREATE TABLE vector (
	branch INTEGER NOT NULL, 
	born INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	data BLOB NOT NULL, 
	CONSTRAINT pk_vector PRIMARY KEY (branch, born, id), 
	CONSTRAINT fk_vector_branch FOREIGN KEY(branch) REFERENCES branch (id)
)
 WITHOUT ROWID

;
INSERT INTO "vector" VALUES(1,1,X'01A204B4F11771F2B906AF9BAD6346F0',X'01');
CREATE INDEX ix_episode_branch_at ON episode (branch, at);
CREATE INDEX ix_feedback_branch_at ON feedback (branch, at);
CREATE INDEX ix_replay_case_branch_at ON replay_case (branch, at);
CREATE INDEX ix_attempt_branch_at ON attempt (branch, at);
CREATE INDEX ix_canary_live ON canary (branch) WHERE live = 1;
COMMIT;
