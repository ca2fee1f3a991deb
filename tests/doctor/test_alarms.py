"""Alarms during training: each begins when it should, is said once, comes back, and survives a checkpoint."""

import json
import math
from typing import Any

from anysize.doctor.alarms import Alarms

TRUTH = [900, 80, 20]


def checks(found: list[Any]) -> list[str]:
    return [finding.check for finding in found]


def test_a_good_run_is_left_alone() -> None:
    alarms = Alarms(["sky", "house", "cat"])
    for epoch in range(12):
        loss = 0.4 * 0.8**epoch
        found = alarms.update(
            train_loss=loss,
            val_loss=loss * 1.3,
            truth=TRUTH,
            predicted=[910, 85, 5],
            same_train=loss,
            same_eval=loss * 1.2,
        )
        assert found == []


def test_a_collapse_is_said_once_and_again_after_it_was_over() -> None:
    alarms = Alarms(["sky", "house", "cat"])
    (finding,) = alarms.update(train_loss=0.3, truth=TRUTH, predicted=[1000, 0, 0])
    assert str(finding).startswith(
        "error [collapse]: 100.00% of the predictions are 'sky', which 90.0% of the labels are: the network gives one "
        "answer to everything (epoch 1); expected predictions of several classes\nhint: a lower --lr"
    )
    assert alarms.update(train_loss=0.25, truth=TRUTH, predicted=[999, 1, 0]) == []
    assert alarms.update(train_loss=0.2, truth=TRUTH, predicted=[900, 90, 10]) == []
    assert checks(alarms.update(train_loss=0.2, truth=TRUTH, predicted=[999, 0, 1])) == ["collapse"]


def test_a_background_that_is_nearly_all_is_no_collapse() -> None:
    assert Alarms(2).update(train_loss=0.01, truth=[9900, 100], predicted=[9999, 1]) == []


def test_a_class_is_missed_after_five_epochs() -> None:
    alarms = Alarms(["sky", "house", "cat"])
    found = [alarms.update(train_loss=0.1, truth=TRUTH, predicted=[930, 70, 0]) for _ in range(7)]
    assert [len(each) for each in found] == [0, 0, 0, 0, 1, 0, 0]
    assert found[4][0].found == "not predicted once in 5 epochs or more: 'cat' (2.00%) of the labels"
    absent = Alarms(3)
    assert not any(absent.update(train_loss=0.1, truth=[900, 100, 0], predicted=[900, 100, 0]) for _ in range(7))


def test_a_gap_between_modes_counts_from_the_second_epoch() -> None:
    alarms = Alarms(2)
    assert alarms.update(train_loss=0.1, same_train=0.2, same_eval=1.5) == []
    assert checks(alarms.update(train_loss=0.1, same_train=0.2, same_eval=1.5)) == ["batch-norm-gap"]
    assert alarms.update(train_loss=0.1, same_train=0.2, same_eval=0.25) == []
    assert alarms.update(train_loss=0.1, same_train=0.01, same_eval=0.05) == []  # twice, and yet nothing


def test_a_plateau_is_the_entropy_of_the_labels() -> None:
    entropy = -sum(p * math.log(p) for p in (0.9, 0.08, 0.02))
    alarms = Alarms(3)
    found = [alarms.update(train_loss=entropy + 0.01, truth=TRUTH, predicted=[900, 90, 10], lr=0.1) for _ in range(4)]
    assert [checks(each) for each in found] == [[], [], ["plateau"], []]
    assert "after 3 epochs the training loss was never below 0.385 at a learning rate of 0.1" in found[2][0].found
    learned = Alarms(3)
    losses = (entropy, 0.5 * entropy, entropy, entropy, entropy)
    assert not any(learned.update(train_loss=loss, truth=TRUTH) for loss in losses)
    uniform = [Alarms(4).update(train_loss=math.log(4))]
    assert uniform == [[]]


def plateaus(alarms: Alarms, losses: tuple[float, ...], num_right: int | None) -> list[list[str]]:
    return [
        checks(alarms.update(train_loss=loss, truth=TRUTH, predicted=[930, 50, 20], num_right=num_right))
        for loss in losses
    ]


def test_a_plateau_of_another_loss_asks_the_validation_too() -> None:
    """A run from trained weights hardly falls; one whose answers are no better than a constant has learned nothing."""
    hardly = (0.301, 0.2995, 0.299)
    by_chance = round((900 * 930 + 80 * 50 + 20 * 20) / 1000)  # right answers of kappa 0
    for arguments in ({"loss_is_cross_entropy": False}, {"starts_trained": True}):
        assert plateaus(Alarms(3, **arguments), hardly, 940) == [[], [], []]
        assert plateaus(Alarms(3, **arguments), hardly, by_chance) == [[], [], ["plateau"]]
        assert plateaus(Alarms(3, **arguments), hardly, None) == [[], [], []]
        assert plateaus(Alarms(3, **arguments), (0.3, 0.29, 0.28), by_chance) == [[], [], []]
    entropy = -sum(p * math.log(p) for p in (0.9, 0.08, 0.02))
    assert plateaus(Alarms(3), (entropy,) * 3, by_chance) == [[], [], ["plateau"]]
    assert plateaus(Alarms(3), (entropy,) * 3, None) == [[], [], ["plateau"]]
    assert plateaus(Alarms(3), (entropy,) * 3, 940) == [[], [], []]
    constant = Alarms(3, loss_is_cross_entropy=False)
    found = [
        checks(constant.update(train_loss=0.3, truth=[10, 0, 0], predicted=[10, 0, 0], num_right=10)) for _ in "abc"
    ]
    assert found == [[], [], ["plateau"]]


def test_a_loss_that_is_not_finite() -> None:
    (finding,) = Alarms(2).update(train_loss=0.5, val_loss=math.nan)
    assert (finding.check, finding.severity) == ("non-finite", "error")
    assert finding.found == "the validation loss is nan in epoch 1"


def test_a_checkpoint_in_between_changes_nothing() -> None:
    epochs = [
        {"train_loss": 0.4, "truth": TRUTH, "predicted": [1000, 0, 0], "same_train": 0.2, "same_eval": 2.0},
        {"train_loss": math.inf, "truth": TRUTH, "predicted": [990, 10, 0], "same_train": 0.2, "same_eval": 2.0},
        *({"train_loss": 0.39, "truth": TRUTH, "predicted": [990, 10, 0]} for _ in range(6)),
    ]
    whole = Alarms(3)
    expected = [checks(whole.update(**epoch)) for epoch in epochs]
    assert sum(map(len, expected)) >= 4
    for stop in range(len(epochs)):
        first, second = Alarms(3), Alarms(3)
        found = [checks(first.update(**epoch)) for epoch in epochs[:stop]]
        second.load_state(json.loads(json.dumps(first.state(), allow_nan=False)))
        assert found + [checks(second.update(**epoch)) for epoch in epochs[stop:]] == expected
