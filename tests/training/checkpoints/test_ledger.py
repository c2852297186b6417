"""The ledger: what each step was trained on, of all workers, without what was not committed."""

from spire_ray.training.checkpoints import ledger


def test_rows_of_all_workers_are_read_by_step(tmp_path):
    first, second = (ledger.Ledger(str(tmp_path), rank) for rank in (0, 1))
    for step in (1, 2, 3):
        first.add(step, [10 * step, 10 * step + 1])
        second.add(step, [10 * step + 5])
        if step != 2:
            first.commit(step)
            second.commit(step)
    assert ledger.read(str(tmp_path)) == {1: [10, 11, 15], 2: [20, 21, 25], 3: [30, 31, 35]}


def test_what_is_not_committed_is_not_there(tmp_path):
    book = ledger.Ledger(str(tmp_path), 0)
    book.add(1, [1])
    assert ledger.read(str(tmp_path)) == {}


def test_steps_after_a_checkpoint_are_struck_out_and_written_anew(tmp_path):
    book = ledger.Ledger(str(tmp_path), 0)
    for step in (1, 2):
        book.add(step, [step])
        book.commit(step)
    ledger.truncate_after(str(tmp_path), after=1)
    assert ledger.read(str(tmp_path)) == {1: [1]}
    again = ledger.Ledger(str(tmp_path), 0)
    again.add(2, [7])
    again.commit(2)
    assert ledger.read(str(tmp_path)) == {1: [1], 2: [7]}
