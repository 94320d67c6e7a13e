from rsd_med.reporting.gallery import pick
from rsd_med.reporting.record import model_title


def test_first_last_and_the_chosen_are_picked():
    counts = list(range(0, 2000, 100))
    picked = pick(counts, 6, needed=1500)
    assert picked == sorted(picked)
    assert len(picked) == 6
    assert {0, 1900, 1500} <= set(picked)
    assert pick(counts, 6) == [0, 400, 800, 1100, 1500, 1900]
    assert len(pick(counts, 6, needed=100)) == 6
    assert pick(counts, 6, needed=7) == pick(counts, 6)
    assert pick([1, 2], 6, needed=2) == [1, 2]


def test_models_have_names_for_people():
    assert model_title("teacher.heun_18") == "Teacher (heun_18)"
    assert model_title("student") == "Student"
