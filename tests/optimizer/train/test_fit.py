from optimizer.train.fit import Epoch, Fit, parting


def _fit(task, score):
    return Fit(task, score, 2, tuple(Epoch(7, loss, 1.0, score, 0.1, 1.0) for loss in (0.9, 0.5)))


def test_curves_that_fall_together_have_not_parted():
    assert parting([3, 2, 1], [3.1, 2.2, 1.5]) is None


def test_selection_loss_that_rises_while_training_loss_falls_is_overfitting():
    assert parting([3, 2, 1, 0.5], [3, 2, 2.5, 3]) == 3


def test_little_rise_is_noise_and_common_rise_is_not_overfitting():
    assert parting([3, 2, 1], [3, 2, 2.02]) is None
    assert parting([3, 1, 2], [3, 2, 2.5]) is None


def test_summary_names_the_metric_of_the_task():
    assert _fit("classification", 0.915).summary("the selection rows") == (
        "91.50% of the selection rows right after epoch 2 of 2 (loss 0.9 -> 0.5)"
    )
    assert "rmse 0.25 on the selection rows after" in _fit("regression", -0.25).summary("the selection rows")
