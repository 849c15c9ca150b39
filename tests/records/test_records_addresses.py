"""Addresses as they may be shown: no secret, wherever and however it was written."""

import itertools
from urllib.parse import quote, quote_plus

import pytest

from ablate.records.addresses import shown_address, without_secrets

SECRETS = ("SECRET", "S3/cr:e@t?#&", "pä ss%41")
TEMPLATES = (
    "postgresql://me:{}@127.0.0.1:1/trials", "mysql+pymysql://me:{}@h/db?charset=utf8", "postgresql://{}@h/db",
    "postgresql:///trials?host=h&user=me&password={}", "postgresql:///trials?host=h;passwd={}", "mysql://h/db?ssl_key={}",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{}", "redis://:{}@h:6379/0", "https://h/x.csv?X-Amz-Signature={}", "https://h/x#{}",
    "me:{}@h/db", "host=h password={}", "s3://KEY:{}@bucket/x",
)  # fmt: skip


@pytest.mark.parametrize(("template", "secret"), list(itertools.product(TEMPLATES, SECRETS)))
def test_a_secret_is_never_shown(template: str, secret: str) -> None:
    for spelled in {secret, quote(secret, safe=""), quote_plus(secret)}:
        if not template.startswith(("postgresql://me", "mysql+pymysql")) and spelled == secret != "SECRET":
            continue  # unescaped reserved characters end a parameter: there the address itself is another one
        address = template.format(spelled)
        shown = shown_address(address)
        assert spelled not in shown, shown
        assert "SECRET" not in shown
        driver = f"could not connect: {address} (password '{spelled}', that is {secret!r})"
        printed = without_secrets(driver, address)
        assert spelled not in printed, printed
        assert secret not in printed or secret not in (spelled,)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("runs/lr=0.1/trials.log", "runs/lr=0.1/trials.log"),
        ("postgresql://me:x@h:5432/db?sslmode=require", "postgresql://***@h:5432/db?sslmode=require"),
        ("postgresql://me:ab@cd@h/db", "postgresql://***@h/db"),
        ("postgresql://h/db?token=x", "postgresql://h/db?token=***"),
        ("data@home/x.db", "data@home/x.db"),
    ],
)
def test_what_is_left_says_where_it_is(address: str, shown: str) -> None:
    assert shown_address(address) == shown


def test_short_secrets_leave_other_words_whole() -> None:
    assert (
        without_secrets("no database at a host (a)", "mysql://me:a@h/db") == "no database at *** host (***)"
    )
