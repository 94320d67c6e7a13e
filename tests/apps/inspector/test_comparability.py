"""Which figures of runs may be compared is said, and why others may not."""

from types import SimpleNamespace

from apps.inspector.page.comparability import comparability


def record(features="random", samples=500, measurements=3000, cores=2, size=32):
    return SimpleNamespace(
        metrics={
            "features": features,
            "num_samples": samples,
            "num_reference": 1000,
            "num_measurements": measurements,
        },
        environment={"gpu": None, "cpu_count": cores},
        protocol={"evaluation": {"reference": {"kind": "knee_phantom", "size": size}}},
    )


def test_equal_foundations_can_be_compared_and_others_not():
    same = comparability({"a": record(), "b": record()})
    assert "can be compared" in same
    assert "cannot" not in same.lower()
    for other, words in (
        (record(features="inception"), "features (random, inception)"),
        (record(samples=2000), "samples (500, 2000)"),
        (record(size=64), "reference (knee_phantom (size 32), knee_phantom (size 64))"),
    ):
        said = comparability({"a": record(), "b": other})
        assert "can NOT be compared" in said
        assert words in said
    said = comparability({"a": record(), "b": record(measurements=100, cores=8)})
    assert "can be compared" in said
    assert "proximal distances cannot" in said
    assert "seconds cannot" in said
    alone = comparability({"a": record()})
    assert "samples: 500; reference images: 1000; reference: knee_phantom (size 32)" in alone
