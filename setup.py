"""What pyproject.toml cannot say: packages that lie elsewhere in a checkout than where they are installed."""

from setuptools import find_packages, setup

ELSEWHERE = {
    "rsd_med.protocols": "protocols",
    "rsd_med_inspector": "apps/inspector",
}

setup(
    package_dir=ELSEWHERE,
    packages=[
        *find_packages(include=["rsd_med", "rsd_med.*"]),
        *ELSEWHERE,
        *(f"rsd_med_inspector.{name}" for name in find_packages(ELSEWHERE["rsd_med_inspector"])),
    ],
)
