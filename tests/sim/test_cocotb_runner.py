"""The cocotb regression's runner: it runs real benches, and a failure is seen."""

import pytest

from sim import cocotb_runner
from sim.cocotb_runner import BENCHES, Result, main, write_junit


def test_a_bench_runs_and_is_reported(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(cocotb_runner, "RESULTS_ROOT", tmp_path)
    assert main(["--filter", r"^array\[tiny\]$"]) == 0
    assert "4 tests, 0 failed" in capfd.readouterr().out
    assert 'tests="4" failures="0"' in (tmp_path / "results.xml").read_text()


def test_failures_of_cocotb_are_read(tmp_path):
    path = tmp_path / "results.xml"
    path.write_text(
        "<testsuites><testsuite><testcase name='good' time='1.5'/>"
        "<testcase name='bad' time='0'><failure error_msg='cycle 7'/></testcase>"
        "</testsuite></testsuites>"
    )
    good, bad = cocotb_runner._read(BENCHES[0], path)
    assert (good.test, good.seconds, good.failure) == ("good", 1.5, "")
    assert (bad.test, bad.failure) == ("bad", "cycle 7")


def test_a_bench_without_tests_fails(tmp_path):
    path = tmp_path / "results.xml"
    path.write_text("<testsuites/>")
    (result,) = cocotb_runner._read(BENCHES[0], path)
    assert result.failure


def test_failures_decide_the_exit_status(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cocotb_runner, "RESULTS_ROOT", tmp_path)
    monkeypatch.setattr(cocotb_runner, "run", lambda bench: [Result(bench.name, "t", 0.0, "bad")])
    assert main(["--filter", "array"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_unknown_filter_names_the_benches(capsys):
    with pytest.raises(SystemExit):
        main(["--filter", "nothing"])
    assert "array[tiny]" in capsys.readouterr().err


def test_junit(tmp_path):
    write_junit([Result("b", "t", 1.0, ""), Result("b", "u", 1.0, "x<y")], tmp_path / "r.xml")
    text = (tmp_path / "r.xml").read_text()
    assert 'tests="2" failures="1"' in text
    assert "x&lt;y" in text
