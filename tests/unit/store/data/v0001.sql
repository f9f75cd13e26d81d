-- A small store as version 0001 of the schema wrote it: never edit it, so that old ledgers stay readable.
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
INSERT INTO "attempt" VALUES(3,X'006B',X'01A2048630967A1F8418A184D95FA1FE',X'0065','accept',X'01A2048630967C8C99FBACDD06E37DD0',1767323045678,'{"proposer":"p@1","heads":{},"evidence":["f"],"verdict":{"decision":"accept","basis":"human","reason":"a person wrote it"}}');
INSERT INTO "attempt" VALUES(3,X'006C',X'01A20486309C7A788C1E99D4CA33938E',X'0065','defer',NULL,1767323045678,'{"proposer":"p@1","heads":{},"verdict":{"basis":"tested","reason":"it helps","gate":"replay@1","tier":2,"fixes":4,"pairs":5,"e_benefit":5.3,"usage":{"calls":13,"input_tokens":6214,"usd":0.25},"cases":["0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","by name"]}}');
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
INSERT INTO "branch" VALUES(2,'desk','acme','','',0,NULL,0);
INSERT INTO "branch" VALUES(3,'desk','acme','alice','',0,NULL,0);
INSERT INTO "branch" VALUES(4,'desk','acme','alice','draft',0,3,2);
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
INSERT INTO "entry" VALUES(1,1,X'01A20486308C7BF5B39F6E2F85A502DE',NULL,1,'rules',0,'shared',NULL,4,0,NULL,NULL);
INSERT INTO "entry" VALUES(1,1,X'01A20486308C7C909D1F05D939FEA625',NULL,1,'rules',0,'own',NULL,4,0,NULL,NULL);
INSERT INTO "entry" VALUES(3,1,X'01A20486308C7C909D1F05D939FEA625',NULL,1,'rules',0,'as alice says',NULL,4,0,NULL,NULL);
INSERT INTO "entry" VALUES(3,2,X'01A204863096798E807D48A2FED39638',NULL,1,'rules',0,'more',NULL,4,0,NULL,NULL);
INSERT INTO "entry" VALUES(4,3,X'01A20486309879E68C1CEDDF2BCB1463',NULL,1,'rules',0,'on the draft',NULL,4,0,NULL,NULL);
CREATE TABLE episode (
	branch INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_episode PRIMARY KEY (branch, id), 
	CONSTRAINT fk_episode_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "episode" VALUES(3,X'006570',1767323045678,'{"heads":{},"request":{"messages":[{"role":"user","text":"where is my card?"}]},"run":{"output":"Falcon"}}');
CREATE TABLE feedback (
	branch INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_feedback PRIMARY KEY (branch, id), 
	CONSTRAINT fk_feedback_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "feedback" VALUES(3,X'0066',1767323045678,'{"episode":"ep","principal":"ann","signal":"correction","value":"Heron"}');
INSERT INTO "feedback" VALUES(3,X'0067',1767323045678,'{"episode":"ep","principal":"ann","signal":"correction","value":"Heron"}');
CREATE TABLE head (
	branch INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	CONSTRAINT pk_head PRIMARY KEY (branch), 
	CONSTRAINT fk_head_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "head" VALUES(1,1);
INSERT INTO "head" VALUES(2,1);
INSERT INTO "head" VALUES(3,2);
INSERT INTO "head" VALUES(4,3);
CREATE TABLE name (
	id INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	CONSTRAINT pk_name PRIMARY KEY (id), 
	CONSTRAINT uq_name_text UNIQUE (text)
);
INSERT INTO "name" VALUES(1,'tester');
INSERT INTO "name" VALUES(2,'');
INSERT INTO "name" VALUES(3,'replay@1');
CREATE TABLE outcome (
	branch INTEGER NOT NULL, 
	"key" BLOB NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_outcome PRIMARY KEY (branch, "key"), 
	CONSTRAINT fk_outcome_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "outcome" VALUES(3,X'006F','{"case":"c","run":{"output":"x"}}');
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
INSERT INTO "provenance" VALUES(3,X'0065',1,0);
INSERT INTO "provenance" VALUES(3,X'0066',1,0);
INSERT INTO "provenance" VALUES(3,X'0067',1,1);
CREATE TABLE replay_case (
	branch INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	at BIGINT NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_replay_case PRIMARY KEY (branch, id), 
	CONSTRAINT fk_replay_case_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "replay_case" VALUES(3,X'0063',1767323045678,'{"request":{"messages":[]},"grader":{"name":"exact","expected":"Heron","options":{}},"cluster":"c"}');
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
INSERT INTO "revision" VALUES(1,1,X'01A20486308E7BD280E426F5C7CCA7DF',1767323045678,1,2,1,'a person wrote it','{}',X'','because',X'020065',X'',X'54BB6D0BB91049B7179D9D3E906EB4BC',X'1F1B230D55F736129352FB182AC4FFAD',X'67A3716948AEE6076B891541BFDABF93');
INSERT INTO "revision" VALUES(2,1,X'01A2048630927FD0A792655C707C876D',1767323045678,1,2,1,'a person wrote it','{}',X'','because',X'',X'',X'F7AED6AF57574C6AD5EA008D4EFC6A39',X'C926E242A0B23431F5A9E332D9C1111B',X'EF9C1D713E05B6160DCDFF8F88D12F72');
INSERT INTO "revision" VALUES(3,1,X'01A2048630957B76AD0BFB082C1A6921',1767323045678,1,3,0,'it helps','{"tier":2,"fixes":4,"pairs":5,"e_benefit":5.3,"usage":{"calls":13,"input_tokens":6214,"usd":0.25}}',X'100F0F0F0F0F0F0F0F0F0F0F0F0F0F0F0F08006279206E616D65','because',X'020065020066',X'020067',X'8A674C82A96049C35E784BA5CC126E5A',X'234D8361A0D1032328EC765317915E1B',X'B99F4133E6E0AAE45B635251578CF2F9');
INSERT INTO "revision" VALUES(3,2,X'01A2048630967C8C99FBACDD06E37DD0',1767323045678,1,2,1,'a person wrote it','{}',X'','because',X'',X'',X'60699C75B1092D1A7E4E89AAE2E3A9E1',X'17DEC58909785B18AF7504CB4BD3E340',X'475E83131F569D2227B7D2C82A1A0465');
INSERT INTO "revision" VALUES(4,3,X'01A20486309977DC8BEB25F015467C6D',1767323045678,1,2,1,'a person wrote it','{}',X'','because',X'',X'',X'84B522DFE4B43884E8C2A05E63D10F2D',X'ACCAA7D00434829CD8DC3540226EC86C',X'1A46F2661693BFA8E9984C5524668EC4');
CREATE TABLE session (
	branch INTEGER NOT NULL, 
	id BLOB NOT NULL, 
	last_seen BIGINT NOT NULL, 
	heads TEXT NOT NULL, 
	CONSTRAINT pk_session PRIMARY KEY (branch, id), 
	CONSTRAINT fk_session_branch FOREIGN KEY(branch) REFERENCES branch (id)
);
INSERT INTO "session" VALUES(3,X'0073',1767323045678,'{"base":"01a20486308e7bd280e426f5c7cca7df","tenant":"01a2048630927fd0a792655c707c876d","user":"01a2048630967c8c99fbacdd06e37dd0"}');
CREATE TABLE tokenspace_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT tokenspace_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "tokenspace_version" VALUES('0001');
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
INSERT INTO "tomb" VALUES(2,1,X'01A20486308C7BF5B39F6E2F85A502DE',NULL,0);
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
INSERT INTO "vector" VALUES(1,1,X'01A20486308C7BF5B39F6E2F85A502DE',X'01');
CREATE INDEX ix_episode_branch_at ON episode (branch, at);
CREATE INDEX ix_feedback_branch_at ON feedback (branch, at);
CREATE INDEX ix_replay_case_branch_at ON replay_case (branch, at);
CREATE INDEX ix_attempt_branch_at ON attempt (branch, at);
COMMIT;
