"""What a client may choose: names, YAML, JSON, parameters; what is wrong is said as the command says it."""

import json

import pytest

from rsd_med import reconstruct
from rsd_med.base.command import run_command
from rsd_med.base.errors import ProtocolError
from rsd_med.choices import Choices
from rsd_med.scanner.configuration import Configurations, ScannerSettings, changed, parameters

from . import client


def methods(answer):
    return {image.meta["rsd_med_method"] for image in answer.images}


def console(**chosen):
    return client.remark(json.dumps({"version": "1.1.0", "parameters": chosen}))


@pytest.mark.parametrize(
    ("config", "remarks", "method", "pixels"),
    [
        (client.config_file("default"), [], "cg_sense", "float32"),
        (client.config_file("zero_filled"), [], "zero_filled", "float32"),
        (client.config_file("site"), [], "zero_filled", "int16"),
        (client.config_text("method: zero_filled\npixels: int16"), [], "zero_filled", "int16"),
        (client.config_text('{"method": "zero_filled"}'), [], "zero_filled", "float32"),
        (client.config_file("site"), [console(config="", pixels="float")], "zero_filled", "float32"),
        (client.config_file("openrecon_"), [console(config="site")], "zero_filled", "int16"),
        (client.config_file("site"), [console(method="cg_sense", **{"options.iterations": 2})], "cg_sense", "int16"),
        (b"", [], "cg_sense", "float32"),
    ],
)
def test_a_configuration_is_a_name_or_a_text(small, serve, tmp_path, config, remarks, method, pixels):
    (tmp_path / "site.yaml").write_text("method: zero_filled\npixels: int16\n")
    (tmp_path / "openrecon_.yaml").write_text("seed: 3\n")
    head, *lines = client.measurement(small)
    answer = client.ask(serve(folder=tmp_path), [config, head, *remarks, *lines])
    assert answer.errors == []
    assert (methods(answer), {str(image.data.dtype) for image in answer.images}) == ({method}, {pixels})


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        (
            [client.config_file("simplefft")],
            "There is no configuration simplefft on this server; choose one of",
        ),
        ([client.config_file("../../etc/passwd")], "There is no configuration of other characters"),
        ([client.config_file("a_dps")], "There is no configuration a_dps"),
        ([client.config_text("method: unheard")], "--method unheard: there is no such method; choose one of"),
        ([client.config_text("method: a_dps")], "--method a_dps needs a prior: give a run folder in place of -."),
        ([client.config_text("samples: 3")], "--method cg_sense gives one image; leave --samples out."),
        ([client.config_text("run: /etc")], "run"),
        ([client.config_text("calibration: [maps.file=/etc/passwd]")], "calibration is the server's to choose"),
        ([client.config_file("default"), console(calibration="maps.file=/x")], "calibration is the server's to choose"),
        ([client.config_text("seed: [1")], "The configuration, line"),
        ([client.config_text("<?xml version='1.0'?><gadgetronStreamConfiguration/>")], "must hold `key: value` lines"),
        ([client.config_file("default"), client.config_file("default")], "A second configuration was sent"),
        ([client.config_file("default"), console(pixels="double")], "pixels"),
    ],
)
def test_a_wrong_choice_is_a_sentence_and_the_end(small, serve, messages, sentence):
    answer = client.ask(serve(), [*messages, *client.measurement(small)])
    assert answer.closed
    assert answer.images == []
    assert len(answer.errors) == 1
    assert sentence in answer.errors[0]


def test_what_the_method_refuses_is_said_as_the_command_says_it(small, serve, tmp_path, capsys):
    code = run_command(
        lambda: reconstruct.main(
            ["-", str(small), "--out", str(tmp_path / "out"), "--method", "cg_sense", "--set", "iterations=some"]
        )
    )
    said = capsys.readouterr().err.strip()
    text = client.config_text("method: cg_sense\noptions: {iterations: some}")
    answer = client.ask(serve(), [text, *client.measurement(small)])
    assert code == 2
    assert answer.errors == [said]


def test_options_of_another_method_are_left_behind():
    default = ScannerSettings(method="cg_sense", options={"regularisation": 0.1}, seed=4)
    assert changed(default, {"method": "zero_filled"}, "x") == ScannerSettings(method="zero_filled", seed=4)
    more = changed(default, {"options": {"iterations": 3}}, "x")
    assert more.options == {"regularisation": 0.1, "iterations": 3}


def test_files_are_read_and_checked_when_the_server_starts(tmp_path):
    (tmp_path / "wrong.yaml").write_text("method: zero_filled\noptions: {steps: 3}\n")
    with pytest.raises(ProtocolError, match=r"^wrong: --set steps: .* the options of zero_filled are: none"):
        Configurations(ScannerSettings(), tmp_path, with_run=False)
    assert "a_dps" in set(Configurations(ScannerSettings(), None, with_run=True))


@pytest.mark.parametrize("text", ["hello", "{", "[1]", '{"parameters": 3}', "[" * 100_000, "{}"])
def test_other_remarks_choose_nothing(text):
    assert parameters(text) is None


def test_parameters_with_a_point_are_keys_of_a_group_and_empty_ones_were_left_alone():
    text = json.dumps({"parameters": {"method": "l1_wavelet", "options.a": 1, "options.b": True, "samples": ""}})
    assert parameters(text) == {"method": "l1_wavelet", "options": {"a": 1, "b": True}}


def test_whatever_the_command_lets_one_choose_a_scanner_may_choose():
    """A new choice that the server does not know is an error in each of its sessions."""
    assert ScannerSettings().choices() == Choices()


def test_another_method_does_not_inherit_what_the_prior_learns():
    started = ScannerSettings(method="a_dps", adapt=60)
    assert changed(started, {"method": "l1_wavelet"}, "l1_wavelet").adapt is None
    assert changed(started, {"seed": 3}, "The parameters").adapt == 60
