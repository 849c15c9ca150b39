"""Strings and numbers at the door: secrets masked, control characters shown, figures typeset."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.report.clean import clean, clean_text, mask_secrets, shorten
from ablate.report.numbers import Units, count, duration, power_of_ten, probability, setting, significant

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://ann:{SECRET}@db.example/studies",
        f"mysql+pymysql://ann:p@{SECRET}@db.example:3306/x?charset=utf8",
        f"redis://:{SECRET}@cache:6379/0",
        f"ray://head:10001?token={SECRET}",
        f"https://example.org/x?user=ann&password={SECRET}&page=2",
        f"https://example.org/x?X-Amz-Signature={SECRET}",
        f"https://example.org/x;api_key={SECRET}#top",
        f"ablate study digits --password={SECRET}",
        f"ablate study digits --api-key {SECRET}",
        f"WANDB_API_KEY={SECRET} ablate study digits",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f'{{"password": "{SECRET}"}}',
        f"token = '{SECRET}'",
    ],
)
def test_a_secret_never_gets_through(text):
    assert SECRET not in mask_secrets(text)
    assert "***" in mask_secrets(text)
    assert SECRET not in str(clean({"a": [text], text: 1}))


@pytest.mark.parametrize(
    "text",
    [
        "ablate study digits --trials 100",
        "https://arxiv.org/abs/1706.02677?page=2",
        "dropout.p = 0.5",
        "a@b",
        "key points",
        "monkey=3",
    ],
)
def test_what_is_no_secret_stays(text):
    assert mask_secrets(text) == text


@settings(deadline=None)  # no wall-time limit on a loaded machine
@given(st.text())
def test_clean_text_is_idempotent_and_can_be_written(text):
    once = clean_text(text)
    assert clean_text(once) == once
    once.encode("utf-8")
    assert not set(once) & {"\x00", "\x1b", "\u202e", "\ud800", "\ufffe"}


@settings(deadline=None)  # no wall-time limit on a loaded machine
@given(st.text(), st.integers(5, 40))
def test_shorten_keeps_to_its_length(text, length):
    assert len(shorten(text, length)) <= length


def test_fractions_are_shown_in_per_cent_and_losses_as_they_are():
    accuracy, loss = Units.of("validation/accuracy"), Units.of("validation/log_loss")
    assert accuracy.value(0.97251).replace("\u202f", " ") == "97.25 %"
    assert accuracy.effect(-0.0012) == "−0.12"
    assert accuracy.effect(0.00001) == "0.00"
    assert accuracy.interval(0.004, 0.0208) == "+0.40 to +2.08"
    assert loss.value(0.123456) == "0.123"
    assert loss.effect(float("nan")) == "–"


def test_errors_of_a_standardised_target_are_in_its_deviations():
    error = Units.of("validation/rmse", 0.01, standardised=True)
    assert error.value(0.5234).replace("\u202f", " ") == "0.5234 SD"
    assert (error.label, error.label_of_difference) == (" (SD)", " (SD)")
    for metric, label in (("validation/r2", ""), ("validation/loss", ""), ("validation/accuracy", " (%)")):
        assert Units.of(metric, standardised=True).label == label
    assert Units.of("validation/rmse").label == ""


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (2.3026, "2.30"),
        (1234.5, "1234"),
        (0.00012345, "0.000123"),
        (1.2e-7, "1.2·10⁻⁷"),
        (-3e9, "−3·10⁹"),
        (float("inf"), "∞"),
    ],
)
def test_three_significant_digits(number, shown):
    assert significant(number) == shown


def test_small_words():
    assert [power_of_ten(x) for x in (1e-3, 1, 100, 1e4)] == ["10⁻³", "1", "100", "10⁴"]
    assert [setting(x) for x in (True, 3, 0.5, 0.012345, "flat")] == ["on", "3", "0.5", "0.0123", "flat"]
    assert [probability(x) for x in (0.0001, 0.0221, 0.5, None)] == ["< 0.001", "0.022", "0.50", "–"]
    assert [duration(x).replace("\u202f", " ") for x in (0.42, 38, 185, 7620, 59.7)] == [
        "0.4 s",
        "38 s",
        "3 min 05 s",
        "2 h 07 min",
        "1 min 00 s",
    ]
    assert count(1234567).replace("\u202f", " ") == "1 234 567"


@pytest.mark.parametrize(
    ("margin", "shown"), [(0.0355, "+0.0006"), (3.5, "0.00"), (350.0, "0"), (None, "+0.000646")]
)
def test_effects_of_a_metric_without_unit_end_two_digits_below_the_margin(margin, shown) -> None:
    assert Units.of("validation/rmse", margin).effect(0.000646) == shown
    assert Units.of("validation/accuracy", margin).effect(0.000646) == "+0.06"
