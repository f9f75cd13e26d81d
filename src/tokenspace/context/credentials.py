"""What secrets look like: the forms that providers give their keys on purpose, so that they are found.

Provider keys are found by their form alone. What has no form of its own is in `assignments`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tokenspace.context.assignments import ACCESS, is_random
from tokenspace.context.patterns import EDGE, END, Pattern

_API: Final = "an API key"
_CLOUD: Final = "a cloud access key"
_WORD: Final = "[A-Za-z0-9_-]"


def _mixed(value: str) -> bool:
    """Has a digit, or both cases: a name in words has neither."""
    return any(char.isdigit() for char in value) or (value != value.lower() and value != value.upper())


def _key(
    kind: str, words: str, body: str, *signs: str, yes: str, no: str, valid: Callable[[str], bool] | None = None
) -> Pattern:
    """A form of its own, in one unbroken run."""
    return Pattern(
        kind=kind, words=words, sort="secret", regex=f"{EDGE}(?:{body})", where="run", signs=signs, score=0.95,
        valid=valid, yes=yes, no=no,
    )  # fmt: skip


def _a(count: int, of: str = "a1B2c3D4") -> str:
    """An invented key's body: in this file no text may look like one, or other scanners would find it."""
    return (of * count)[:count]


FORMS: Final = (
    Pattern(
        kind="private_key",
        words="a private key",
        sort="secret",
        where="near",
        signs=("private key-----", "private key block-----"),
        reach=20_000,
        score=0.99,
        regex=r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[^-]{0,16384}(?:-(?!----)[^-]{0,200}){0,16}-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"|[A-Za-z0-9+/=\s\\]{0,16384})",
        yes="-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEabc+/=\n-----END RSA PRIVATE KEY-----",
        no="-----BEGIN PUBLIC KEY-----\nMIIEabc+/=\n-----END PUBLIC KEY-----",
    ),
    _key(
        "age_key",
        "a private key",
        "AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}",
        "AGE-SECRET",
        yes="AGE-SECRET-" + "KEY-1" + _a(58, "QPZRY9X8"),
        no="age1" + _a(58, "qpzry9x8"),
    ),
    _key(
        "aws_key",
        _CLOUD,
        f"(?:AKIA|ASIA)[0-9A-Z]{{16}}{END}",
        "AKIA",
        "ASIA",
        yes="use AKIA" + _a(16, "A1"),
        no="GHOST IN ASIA, AKIAA1A1A1A1A1A1A1A1A1A1A1A1A1",
    ),
    Pattern(
        kind="aws_secret",
        words=_CLOUD,
        sort="secret",
        where="near",
        signs=("secret",),
        score=0.9,
        valid=is_random,
        regex=r"(?i:secret_?(?:access_?)?key)[\s\"'\\:=>]{1,8}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=_-])",
        yes="aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY",
        no="secret key " + "a94a8fe5cc" * 4,
    ),
    _key("google_key", _API, f"AIza{_WORD}{{35}}(?!{_WORD})", "AIza", yes="key AIza" + _a(35), no="AIza" + _a(20)),
    _key(
        "google_token",
        ACCESS,
        f"ya29\\.{_WORD}{{20,}}|GOCSPX-{_WORD}{{20,40}}",
        "ya29.",
        "GOCSPX-",
        yes="ya29." + _a(60),
        no="ya29." + _a(9),
    ),
    Pattern(
        kind="azure_key",
        words=_CLOUD,
        sort="secret",
        where="near",
        signs=("accountkey=", "sharedaccesskey="),
        score=0.95,
        regex=r"(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{43,86}={0,2})",
        yes="AccountKey=" + _a(86) + "==",
        no="AccountKey={key}",
    ),
    Pattern(
        kind="azure_sas",
        words=_CLOUD,
        sort="secret",
        where="near",
        signs=("sig=",),
        score=0.9,
        regex=r"[?&;]sig=([A-Za-z0-9%+/]{43,64}={0,2})",
        yes="?sv=2024&sig=" + _a(43) + "%3D",
        no="?sv=2024&sig=" + _a(9),
    ),
    Pattern(
        kind="azure_secret",
        words=_API,
        sort="secret",
        where="near",
        signs=("q~",),
        score=0.9,
        regex=EDGE + r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}",
        yes="abc8" + "Q~" + _a(34),
        no="abc8" + "Q~" + _a(9),
    ),
    _key(
        "github_token",
        ACCESS,
        f"(?:gh[pousr]|github_pat)_{_WORD}{{16,255}}",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        yes="ghp" + "_" + _a(36),
        no="ghp_short and ghost_" + "story" * 6,
    ),
    _key(
        "gitlab_token",
        ACCESS,
        f"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas)-{_WORD}{{16,255}}",
        "glpat-",
        "gldt-",
        "glrt-",
        "glcbt-",
        "glptt-",
        "glft-",
        "glimt-",
        "glagent-",
        "gloas-",
        yes="glpat" + "-" + _a(20),
        no="glpat-short",
    ),
    _key(
        "slack_token",
        ACCESS,
        f"xox[abeoprs][-_]{_WORD}{{16,255}}|xapp-\\d-{_WORD}{{16,255}}",
        "xox",
        "xapp-",
        yes="xox" + "b-" + _a(40),
        no="xoxb-short",
    ),
    _key(
        "slack_webhook",
        ACCESS,
        r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9_/-]{20,}",
        "hooks.slack.com",
        yes="https://hooks.slack." + "com/services/T0AAAAAAA/B0BBBBBBB/" + _a(24),
        no="hooks.slack.com/docs",
    ),
    _key(
        "stripe_key",
        _API,
        "(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,255}|whsec_[A-Za-z0-9+/=]{16,255}",
        "k_live_",
        "k_test_",
        "whsec_",
        yes="sk" + "_live_" + _a(24),
        no="sk_live_ and pk_test_short",
    ),
    _key(
        "anthropic_key",
        _API,
        f"sk-ant-{_WORD}{{20,255}}",
        "sk-ant-",
        yes="sk-" + "ant-api03-" + _a(40),
        no="sk-ant-hill",
    ),
    _key(
        "openai_key",
        _API,
        f"sk-(?:proj|svcacct|admin|or)-{_WORD}{{20,255}}|sk-[A-Za-z0-9]{{20}}T3BlbkFJ[A-Za-z0-9]{{20}}",
        "sk-",
        yes="sk-" + "proj-" + _a(40),
        no="sk-project-plan",
    ),
    _key(
        "api_key",
        _API,
        rf"(?:t?sk|pk|rk)[-_](?:live|test|ant|proj|or)?[-_]?{_WORD}{{20,255}}",
        "sk-",
        "sk_",
        "pk-",
        "pk_",
        "rk-",
        "rk_",
        valid=_mixed,
        yes="tsk" + "-" + _a(40),
        no="the pk_of_this_wide_table_is_long, task-force",
    ),
    _key(
        "twilio_key",
        _API,
        f"SK[0-9a-f]{{32}}{END}",
        "SK",
        yes="SK" + _a(32, "a1b2c3d4"),
        no="SK" + _a(31, "a1b2c3d4") + "G",
    ),
    _key(
        "sendgrid_key",
        _API,
        rf"SG\.{_WORD}{{16,32}}\.{_WORD}{{16,64}}",
        "SG.",
        yes="SG" + "." + _a(22) + "." + _a(43),
        no="SG. said so",
    ),
    _key(
        "mailgun_key",
        _API,
        f"key-[0-9a-f]{{32}}{END}",
        "key-",
        yes="key" + "-" + _a(32, "a1b2c3d4"),
        no="key-value-store-of-a-kind-we-like",
    ),
    _key(
        "mailchimp_key",
        _API,
        f"[0-9a-f]{{32}}-us\\d{{1,2}}{END}",
        "-us",
        yes=_a(32, "a1b2c3d4") + "-us" + "12",
        no="how-us12",
    ),
    _key(
        "npm_token",
        ACCESS,
        f"npm_[A-Za-z0-9]{{36}}{END}",
        "npm_",
        yes="npm" + "_" + _a(36),
        no="npm_config_registry_of_the_whole_team",
    ),
    _key(
        "pypi_token",
        ACCESS,
        f"pypi-{_WORD}{{40,400}}",
        "pypi-",
        yes="pypi" + "-AgEIcHlwaS5vcmc" + _a(60),
        no="pypi-" + "mirror",
    ),
    _key(
        "huggingface_token",
        ACCESS,
        f"hf_[A-Za-z0-9]{{30,40}}{END}",
        "hf_",
        valid=_mixed,
        yes="hf" + "_" + _a(34),
        no="hf_hub_download_x",
    ),
    _key("groq_key", _API, f"gsk_[A-Za-z0-9]{{40,60}}{END}", "gsk_", yes="gsk" + "_" + _a(52), no="gsk_short"),
    _key("xai_key", _API, f"xai-[A-Za-z0-9]{{60,90}}{END}", "xai-", yes="xai" + "-" + _a(80), no="xai-methods"),
    _key(
        "perplexity_key",
        _API,
        f"pplx-[A-Za-z0-9]{{40,60}}{END}",
        "pplx-",
        yes="pplx" + "-" + _a(48),
        no="pplx-70b-online",
    ),
    _key("replicate_token", ACCESS, f"r8_[A-Za-z0-9]{{30,40}}{END}", "r8_", yes="r8" + "_" + _a(37), no="r8_x"),
    _key(
        "digitalocean_token",
        ACCESS,
        f"do[opr]_v1_[0-9a-f]{{64}}{END}",
        "_v1_",
        yes="dop" + "_v1_" + _a(64, "a1b2c3d4"),
        no="dop_v1_x",
    ),
    _key(
        "shopify_token",
        ACCESS,
        f"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{{32}}{END}",
        "shp",
        yes="shpat" + "_" + _a(32, "a1b2c3d4"),
        no="shpat_x",
    ),
    _key(
        "databricks_token",
        ACCESS,
        f"dapi[0-9a-f]{{32}}(?:-\\d)?{END}",
        "dapi",
        yes="dapi" + _a(32, "a1b2c3d4"),
        no="dapir",
    ),
    _key(
        "vault_token",
        ACCESS,
        rf"hv[sbr]\.{_WORD}{{24,255}}",
        "hvs.",
        "hvb.",
        "hvr.",
        yes="hvs" + "." + _a(90),
        no="hvs.io",
    ),
    _key(
        "docker_token",
        ACCESS,
        f"dckr_(?:pat|oat)_{_WORD}{{20,64}}",
        "dckr_",
        yes="dckr" + "_pat_" + _a(27),
        no="dckr_image",
    ),
    _key(
        "linear_key",
        _API,
        f"lin_(?:api|oauth)_[A-Za-z0-9]{{32,64}}{END}",
        "lin_",
        yes="lin" + "_api_" + _a(40),
        no="lin_api_x",
    ),
    _key("newrelic_key", _API, f"NRAK-[A-Z0-9]{{27}}{END}", "NRAK-", yes="NRAK" + "-" + _a(27, "A1B2C3"), no="NRAK-X"),
    _key(
        "discord_token",
        ACCESS,
        rf"[MNO][A-Za-z0-9_-]{{23,27}}\.{_WORD}{{6}}\.{_WORD}{{27,40}}(?!{_WORD})",
        ".",
        yes="M" + _a(25) + "." + _a(6) + "." + _a(30),
        no="Numbers.of.words",
    ),
    Pattern(
        kind="telegram_token",
        words=ACCESS,
        sort="secret",
        where="near",
        signs=(":aa",),
        score=0.95,
        regex=EDGE + rf"\d{{8,10}}:AA{_WORD}{{33}}(?!{_WORD})",
        yes="123456789" + ":AA" + _a(33),
        no="12:AA and 123456789:AAA",
    ),
    _key(
        "jwt",
        "a signed web token",
        rf"eyJ{_WORD}{{8,}}\.eyJ{_WORD}{{8,}}\.{_WORD}{{8,}}",
        ".eyJ",
        yes="eyJ" + _a(20) + ".eyJ" + _a(20) + "." + _a(20),
        no="eyJ.eyJ",
    ),
)
