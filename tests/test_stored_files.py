"""Who writes files, and who imports code by a name: a list that grows only by a reason written down here."""

import ast
from pathlib import Path

from test_directions import FILES, PACKAGE, nodes_of

WRITERS = {
    "records/files.py": {"os.open": "the atomic writer itself"},
    "kernels/compiled/code_cache.py": {"os.open": "temporary file and rename, without fsync: a torn one fails its checksum", "os.fdopen": "the same"},
    "ledger/lock.py": {"os.open": "the lock, whose content is of no use after the process"},
    "ledger/schema.py": {"sqlite3.connect": "SQLite's own transactions"},
    "ledger/migrations.py": {"sqlite3.connect": "SQLite's own transactions, or in memory"},
    "lanes/checkpoint.py": {"torch.save": "into memory"},
    "export/files.py": {"torch.save": "into memory"},
    "export/trackers.py": {"frame.to_parquet": "into memory", "SummaryWriter": "event files of TensorBoard, a folder a run"},
    "report/plots/picture.py": {"figure.savefig": "into memory"},
    "cli/commands.py": {"NamedTemporaryFile": "a traceback, where nothing else can be relied on; removed where it cannot be written"},
}  # fmt: skip
"""File -> call -> why it does not go through `records.files`."""
IMPORTERS = {
    "__init__.py": {"import_module": "the names of `import ablate`, a table in that file"},
    "study/__init__.py": {"import_module": "one module of ablate's"},
    "export/trackers.py": {"importlib.import_module": "packages named in that file"},
    "api/dashboard.py": {"importlib.import_module": "optuna_dashboard"},
    "catalogue/registry.py": {
        "importlib.import_module": "the catalogue's own files and installed plug-ins",
        "importlib.util.find_spec": "installed plug-ins",
        "importlib.util.spec_from_file_location": "a trick file that was typed, or is in a study file that was",
    },
    "catalogue/torch_optimizer.py": {"importlib.import_module": "an optimizer class that was typed, or is in a study file that was"},
    "executors/registry.py": {"import_module": "--executor MODULE:FACTORY, which was typed, and packages named in that file"},
    "tasks/load.py": {"importlib.util.spec_from_loader": "the task file that was typed"},
    "kernels/compiled/__init__.py": {"find_spec": "llvmlite, which is not imported for it"},
    "study/environment.py": {"find_spec": "packages named in that file"},
    "search/samplers.py": {"find_spec": "packages named in that file"},
    "export/bundle.py": {"importlib.util.find_spec": "modules that the user's model has imported"},
}  # fmt: skip
LOADERS = {
    "lanes/weights.py": "the task that the caller of `ablate.load` named",
    "executors/shared_task.py": "the task of a job, which the driver loaded by the same name",
    "study/request.py": "what was typed, or the task of a study file that was",
    "cli/inspect.py": "what was typed", "cli/tasks.py": "what was typed", "cli/train.py": "what was typed", "cli/tricks.py": "what was typed",
}  # fmt: skip
"""Users of `tasks.load.load`."""
BY_NAME = {
    "import_module",
    "spec_from_file_location",
    "spec_from_loader",
    "find_spec",
    "__import__",
    "run_path",
    "run_module",
}
METHODS = {
    "write_text", "write_bytes", "touch", "symlink_to", "hardlink_to", "to_csv", "to_parquet", "to_pickle", "to_excel", "to_feather", "to_hdf",
    "savefig", "tofile", "imsave",
}  # fmt: skip
FUNCTIONS = {
    "torch.save", "np.save", "np.savez", "np.savetxt", "np.memmap", "json.dump", "pickle.dump", "save_file", "shutil.copy", "shutil.copy2",
    "shutil.copyfile", "shutil.copytree", "shutil.move", "NamedTemporaryFile", "TemporaryFile", "mkstemp", "tempfile.mkstemp",
    "tempfile.NamedTemporaryFile", "SummaryWriter", "sqlite3.connect", "urlretrieve", "os.mkfifo", "os.truncate",
}  # fmt: skip


def mode_of(call: ast.Call, place: int) -> str:
    """The mode of an `open`: a literal, "r" without one, "?" where it is computed."""
    given = [k.value for k in call.keywords if k.arg == "mode"] or call.args[place : place + 1]
    if not given:
        return "r"
    return str(given[0].value) if isinstance(given[0], ast.Constant) else "?"


def writes(call: ast.Call) -> str:
    """The name of a call that writes a file past `records.files`; "" for any other."""
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    if name in FUNCTIONS or ("." in name and last in METHODS):
        return name
    if name == "os.open":
        flags = ast.unparse(call.args[1])
        return (
            name
            if {"O_CREAT", "O_WRONLY", "O_RDWR"} & set(flags.replace("os.", "").replace(" ", "").split("|"))
            else ""
        )
    if name in ("open", "io.open", "gzip.open", "os.fdopen", "zipfile.ZipFile") or last == "open":
        if name.split(".")[0] in ("Ledger", "Image", "cls", "schema", "sealed"):
            return ""  # not files
        mode = mode_of(
            call, 1 if name in ("open", "io.open", "gzip.open", "os.fdopen", "zipfile.ZipFile") else 0
        )
        return name if set(mode) & set("wax+?") else ""
    return ""


def calls(path: Path) -> list[ast.Call]:
    return [node for node in nodes_of(path) if isinstance(node, ast.Call)]


def name_in_package(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_files_are_written_by_the_atomic_writer_alone():
    writers = {
        (name_in_package(path), name) for path in FILES for call in calls(path) if (name := writes(call))
    }
    assert writers == {(file, name) for file, names in WRITERS.items() for name in names}


def test_a_writer_is_found():
    code = {
        "open(p, 'w')": True, "open(p)": False, "p.open('rb')": False, "p.open('ab')": True, "open(p, mode=m)": True, "p.write_text(t)": True,
        "write_text(p, t)": False, "torch.save(x, p)": True, "os.open(p, os.O_RDONLY)": False, "os.open(p, os.O_RDWR | os.O_CREAT)": True,
    }  # fmt: skip
    for text, wanted in code.items():
        call = ast.parse(text).body[0].value  # type: ignore[attr-defined]
        assert bool(writes(call)) == wanted, text


def test_code_is_imported_by_a_name_in_the_listed_places_alone():
    importers = {
        (name_in_package(path), name)
        for path in FILES
        for call in calls(path)
        if (name := ast.unparse(call.func)).rpartition(".")[2] in BY_NAME and not name.startswith("self")
    }
    assert importers == {(file, name) for file, names in IMPORTERS.items() for name in names}


def test_tasks_are_loaded_by_a_name_in_the_listed_places_alone():
    loaders = {
        name_in_package(path)
        for path in FILES
        for node in nodes_of(path)
        if isinstance(node, ast.ImportFrom)
        and node.module == "ablate.tasks.load"
        and "load" in {a.name for a in node.names}
    }
    assert loaders == set(LOADERS)
