import pytest

from bompnas.errors import InputError
from bompnas.experiment import files


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A working directory, a folder of experiments and an installed package."""
    for name in ("work", "mine", "package"):
        (tmp_path / name / "experiments").mkdir(parents=True)
        (tmp_path / name / "experiments" / "digits.yaml").touch()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(files, "_PACKAGE", tmp_path / "package")
    return tmp_path


def test_the_folder_comes_before_the_working_directory_before_the_package(places):
    for name in ("mine", "work", "package"):
        file = places / name / "experiments" / "digits.yaml"
        assert files.find("experiments/digits.yaml", places / "mine") == file
        file.unlink()
    with pytest.raises(InputError, match=r"^experiments/digits\.yaml does not exist; looked for .*mine.* and .*work"):
        files.find("experiments/digits.yaml", places / "mine")


def test_a_shipped_experiment_copied_elsewhere_finds_its_space(places):
    (places / "package" / "search_spaces").mkdir()
    space = places / "package" / "search_spaces" / "digits.yaml"
    space.touch()
    assert files.find("../search_spaces/digits.yaml", places / "mine") == space


@pytest.mark.parametrize("path", ["elsewhere/experiments/digits.yaml", "/experiments/digits.yaml", "digits.yaml"])
def test_nothing_else_is_taken_from_the_package(places, path):
    (places / "package" / "digits.yaml").touch()
    with pytest.raises(InputError, match="does not exist"):
        files.find(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "mine.yaml: expected the keys name, data and space, .*; found nothing"),
        (b"- 1", "mine.yaml: expected the keys name, data and space, .*; found a list"),
        (b"a: b: c", r"mine.yaml, line 1, column 5, is not valid YAML: mapping values are not allowed here"),
        (b"a: 1\nb: 2\na: 3", "mine.yaml, line 3, column 1, is not valid YAML: a is there twice"),
        (b"a: {b: 1, b: 2}", "mine.yaml, line 1, column 11, is not valid YAML: b is there twice"),
        (
            b"a: !!python/object/apply:os.getcwd []",
            "mine.yaml, line 1, column 4, is not valid YAML: could not determine",
        ),
        (b"a: \x01", "^mine.yaml is not valid YAML: unacceptable character #x0001: [^\n]*$"),
        (b"\xff\xfe\x00", "mine.yaml cannot be read: it is not text in UTF-8"),
    ],
)
def test_files_that_are_no_mapping(tmp_path, content, message):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        files.read(file, "mine.yaml")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match=r"^here cannot be read: Is a directory$"):
        files.read(tmp_path, "here")


def test_override_leaves_the_document_alone():
    document = {"a": {"b": 1}, "empty": None}
    changed, origins = files.override(document, ["a.b=[2, x]", "empty.c=true", "new.d.e=0.5", "a.b=3"])
    assert changed == {"a": {"b": 3}, "empty": {"c": True}, "new": {"d": {"e": 0.5}}}
    assert document == {"a": {"b": 1}, "empty": None}
    assert origins == {
        ("a", "b"): "--set a.b=3",
        ("empty",): "--set empty.c=true",
        ("new",): "--set new.d.e=0.5",
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a.b", "--set a.b: expected key=value, such as training.epochs=3"),
        ("=3", "--set =3: expected key=value"),
        ("a..b=3", "--set a..b=3: expected key=value"),
        ("a.b.c=3", "--set a.b.c=3: a.b is 1, which has no keys; set it as a whole"),
        ("a.b={", "--set a.b={: the value, line 1, column 2, is not valid YAML"),
    ],
)
def test_overrides_that_cannot_be_read(override, message):
    with pytest.raises(InputError) as caught:
        files.override({"a": {"b": 1}}, [override])
    assert str(caught.value).startswith(message)
