"""`--set a.b=c`: what it sets, and what it refuses."""

import pytest

from rsd_med.base.errors import ProtocolError
from rsd_med.protocol.overrides import apply_overrides

VALUES = {"name": "x", "student": {"alpha": 1.0, "loss": None}, "samplers": [{"steps": 18}, {"steps": 9}]}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("name=try_2", VALUES | {"name": "try_2"}),
        ("student.alpha=1e-1", VALUES | {"student": {"alpha": 0.1, "loss": None}}),
        (" student . alpha = 2", VALUES | {"student": {"alpha": 2, "loss": None}}),
        ("student.loss.kind=sid", VALUES | {"student": {"alpha": 1.0, "loss": {"kind": "sid"}}}),
        ("engine.device=cpu", VALUES | {"engine": {"device": "cpu"}}),
        ("samplers.1.steps=40", VALUES | {"samplers": [{"steps": 18}, {"steps": 40}]}),
        ("samplers=[]", VALUES | {"samplers": []}),
        ("student=null", VALUES | {"student": None}),
        ("student={alpha: 3}", VALUES | {"student": {"alpha": 3}}),
        ("name='a=b'", VALUES | {"name": "a=b"}),
    ],
)
def test_a_value_is_laid_over_the_file(override, expected):
    assert apply_overrides(VALUES, [override]) == expected


def test_the_later_override_wins_and_the_input_stays():
    before = {"student": {"alpha": 1.0}}
    assert apply_overrides(before, ["student.alpha=2", "student.alpha=3"]) == {"student": {"alpha": 3}}
    assert before == {"student": {"alpha": 1.0}}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("name", "write it as key=value"),
        ("=1", "write it as key=value"),
        ("student..alpha=1", "write it as key=value"),
        ("name=", "the value is missing; write null for none"),
        ("name.first=1", "`name` is a single value and has no `first` in it"),
        ("samplers.2.steps=1", "`samplers` is a list of 2; name an item by its number, from 0, not `2`"),
        ("samplers.steps=1", "`samplers` is a list of 2; name an item by its number, from 0, not `steps`"),
        ("name=[1, 2", "the text ends inside quotes or brackets"),
        ("student={a: 1, a: 2}", "the key `a` stands twice"),
    ],
)
def test_an_impossible_override_is_one_sentence(override, sentence):
    with pytest.raises(ProtocolError) as caught:
        apply_overrides(VALUES, [override])
    assert str(caught.value).startswith(f"--set {override}")
    assert sentence in str(caught.value)
