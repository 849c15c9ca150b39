"""The promises of docs/reliability.md, in order, each with its check and its full count."""

from __future__ import annotations

from bench.chaos import damage, kills, load, parsers, pauses, signals
from bench.chaos.promise import Promise, tests

PROMISES = (
    Promise("R1", "kill -9 loses nothing", 1000, kills.check),
    Promise("R1w", "nor at any named point of the write path", 1, tests("tests/ledger/test_ledger_kill.py", "tests/study/test_edited.py")),
    Promise("R2", "a paused or late driver or worker does no harm", 1,
            tests("tests/ledger/test_ledger_lock.py", "tests/study/test_study_failures.py", "tests/executors/test_executors.py")),
    Promise("R2w", "a stopped worker does no harm either", 50, pauses.check),
    Promise("R3", "torn or corrupt files give no other numbers", 10_000, damage.check),
    Promise("R3t", "nor do exchanged pages, journals and forged rows, nor weights, checkpoints and study files", 1,
            tests("tests/ledger/test_ledger_damage.py", "tests/lanes/test_weights_damaged.py", "tests/lanes/test_checkpoint_damaged.py",
                  "tests/study/test_study_files_damaged.py")),
    Promise("R4", "a full or failing disk leaves no partial file", 1, tests("tests/ledger/test_records_files.py", "tests/ledger/test_ledger_damage.py", "tests/export/test_export_study.py",
                  "tests/records/test_bug_report.py")),
    Promise("R5", "a resumed run is the run, bit for bit", 1,
            tests("tests/oracle/test_oracle_state.py", "tests/lanes/test_engine.py")),
    Promise("R5t", "so for every trick, in every kernel, at five steps", 1,
            tests("tests/catalogue/test_conformance.py", "-k", "killed_at_five_steps", "-m", "slow_oracle")),
    Promise("R6", "a signal at any moment gives one line", 500, signals.check),
    Promise("R7", "divergence ends that lane only, within a step", 1,
            tests("tests/lanes/test_injected.py", "tests/lanes/test_engine.py", "tests/lanes/test_refill.py",
                  "tests/report/test_report_page.py")),
    Promise("R8", "out of memory halves the group", 1,
            tests("tests/lanes/test_injected.py", "tests/lanes/test_engine.py", "-k", "memory or did_not_fit")),
    Promise("R9", "of sixteen starts one works", 1,
            tests("tests/ledger/test_ledger_lock.py", "tests/cli/test_cli_simultaneous.py", "-m", "chaos or not chaos")),
    Promise("R10", "the same ledger gives the same bytes", 1,
            tests("tests/ledger/test_ledger_export.py", "tests/report/test_report_build.py", "tests/executors/test_same_numbers.py")),
    Promise("L", "100,000 runs and a table of 200,000 rows in time", 100_000, load.check),
    Promise("S1", "bad input is one line with a hint", 1, tests(
        "tests/cli/test_cli_bad_input.py", "tests/cli/test_cli_wrong_tasks.py", "tests/cli/test_cli_stumbles.py",
        "tests/records/test_records_study.py", "tests/ranking/test_csv_reader.py", "tests/ranking/test_table_states.py",
        "tests/cli/test_cli_rank_table.py", "tests/cli/test_cli_rank_optuna.py", "tests/tasks/test_task_load.py")),
    Promise("S1f", "any file is answered by every parser", 25_000, parsers.check),
    Promise("S2", "stored files never run code", 1, tests("tests/lanes/test_weights.py", "tests/test_directions.py")),
    Promise("S3", "hostile strings run nothing in the report", 1,
            tests("tests/report/test_report_hostile.py", "tests/report/test_report_browser.py", "-m", "not bench")),
    Promise("S4", "passwords in addresses are never shown", 1, tests("tests/records/test_records_addresses.py", "tests/records/test_bug_report.py", "tests/cli/test_cli_secrets.py")),
    Promise("S5", "only a file that was typed is imported", 1, tests("tests/tasks/test_task_load.py", "tests/study/test_edited.py", "tests/ledger/test_ledger_forged.py", "tests/lanes/test_weights.py",
                  "tests/test_directions.py")),
    Promise("S6", "hostile names write nothing elsewhere", 1,
            tests("tests/ledger/test_records_files.py", "tests/cli/test_cli_bad_input.py", "-k", "name")),
)  # fmt: skip
