"""Answers lie in a bucket as on a disk: asked, grown, audited."""

from spire_ray.evaluation import hypotheses
from spire_ray.tools import audit
from tests.stages.evaluated import manifest


def test_rows_that_come_later_are_asked_and_accounted_for_in_a_bucket(ray_session, run, s3, tmp_path, capsys):
    rows = [{"utt_id": name, "text": f"the {name}", "language": "en", "translations": {"de": f"der {name}"}} for name in "bcde"]
    out = "s3://spire/answers"
    data = manifest(tmp_path, rows[:3])
    assert run("generate", data, tasks=("mt",), rows_per_shard=2, output=out) == 0
    manifest(tmp_path, rows)
    assert run("generate", data, tasks=("mt",), rows_per_shard=2, output=out) == 0
    [(_, _, answers)] = hypotheses.everything(out)
    assert [row["utt_id"] for row in answers] == ["b", "c", "d", "e"]
    capsys.readouterr()
    assert audit.main([out]) == 0 and "asked 4 rows, waiting 0: answered 4" in capsys.readouterr().out
