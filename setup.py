"""Reads every fact about the package from settings.ini, so that it is stated once."""

import configparser
from pathlib import Path

from setuptools import find_packages, setup

settings = configparser.ConfigParser(delimiters=["="], interpolation=None)
settings.read(Path(__file__).with_name("settings.ini"), encoding="utf-8")
facts = settings["DEFAULT"]


def lines(key: str) -> list[str]:
    return [line for line in facts[key].splitlines() if line.strip()]


setup(
    name=facts["lib_name"],
    version=facts["version"],
    description=facts["description"],
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=facts["keywords"].split(),
    license=facts["license"],
    author=facts["author"],
    packages=find_packages(include=[facts["lib_path"], f"{facts['lib_path']}.*"]),
    package_data={
        facts["lib_path"]: ["data/tables/*.csv", "network/vehicles.safetensors", "py.typed"]
    },
    python_requires=f">={facts['min_python']}",
    install_requires=lines("requirements"),
    extras_require={
        key.removesuffix("_requirements"): lines(key)
        for key in facts
        if key.endswith("_requirements")
    },
    entry_points={"console_scripts": lines("console_scripts")},
)
