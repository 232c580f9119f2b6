import configparser


def test_every_package_is_shipped(pytestconfig):
    root = pytestconfig.rootpath
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    shipped = set(settings["options"]["packages"].split())
    packages = {".".join(file.parent.relative_to(root).parts) for file in (root / "bompnas").rglob("__init__.py")}
    assert shipped == packages | {"bompnas.experiments", "bompnas.search_spaces"}
