import pytest
import torch

from optimizer.recipe.augmentation import Augmentation
from optimizer.recipe.training import Training
from optimizer.train.augmentation import Augmenter, Kind, kind_of

_RANDOM = torch.Generator().manual_seed(0)
_PICTURES = torch.randn(6, 3, 16, 12, generator=_RANDOM)
_WAVES = torch.randn(6, 100, generator=_RANDOM)
_SPECTRA = torch.randn(6, 20, 50, generator=_RANDOM)
_TABLE = torch.randn(6, 8, generator=_RANDOM) * torch.arange(1, 9) + 5
_TOKENS = torch.randint(5, 40, (6, 30), generator=_RANDOM)
_MASK = (torch.arange(30) < torch.tensor([30, 20, 10, 30, 5, 12])[:, None]).long()


def _changed(settings, name, tensor, seed=1, **more):
    names, tensors = (name, *more), (tensor, *more.values())
    augmenter = Augmenter(Augmentation(**settings), names, tensors)
    return augmenter(tensors, torch.Generator().manual_seed(seed))


def test_kinds_are_told_by_name_type_and_axes():
    assert kind_of("pixel_values", _PICTURES) is Kind.PICTURE
    assert kind_of("input_values", _WAVES) is Kind.SOUND
    assert kind_of("spectrogram", _SPECTRA) is Kind.SOUND
    assert kind_of("features", _TABLE) is Kind.TABLE
    assert kind_of("input_ids", _TOKENS) is Kind.TOKENS
    assert kind_of("attention_mask", _MASK) is Kind.OTHER


_EACH = [
    ({"flip": True}, "x", _PICTURES),
    ({"crop": 0.2}, "x", _PICTURES),
    ({"cutout": 0.3}, "x", _PICTURES),
    ({"noise": 0.1}, "x", _PICTURES),
    ({"gain_db": 6}, "input_values", _WAVES),
    ({"shift": 0.2}, "input_values", _WAVES),
    ({"masking": 0.3}, "input_values", _WAVES),
    ({"masking": 0.3}, "input_features", _SPECTRA),
    ({"feature_dropout": 0.3}, "x", _TABLE),
    ({"noise": 0.1}, "x", _TABLE),
    ({"token_dropout": 0.3}, "input_ids", _TOKENS),
]


@pytest.mark.parametrize(("settings", "name", "tensor"), _EACH)
def test_same_seed_changes_alike_and_another_otherwise_and_never_the_rows_themselves(settings, name, tensor):
    before = tensor.clone()
    one, again, other = (_changed(settings, name, tensor, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(tensor, before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, tensor)
    assert (one.shape, one.dtype) == (tensor.shape, tensor.dtype)


@pytest.mark.parametrize(("settings", "name", "tensor"), _EACH)
def test_rows_are_changed_each_by_itself(settings, name, tensor):
    alike = tensor[:1].repeat(8, *(1,) * (tensor.ndim - 1))
    augmenter = Augmenter(Augmentation(**settings), (name,), (tensor,))
    changed = augmenter((alike,), torch.Generator().manual_seed(1))[0]
    assert len({tuple(row.flatten().tolist()) for row in changed}) > 1


@pytest.mark.parametrize("tensor", [_PICTURES, _WAVES, _TABLE, _TOKENS])
def test_nothing_asked_changes_nothing(tensor):
    for name in ("x", "input_ids", "input_values"):
        assert torch.equal(_changed({}, name, tensor)[0], tensor)


def test_flipped_pictures_are_themselves_or_their_mirror_images():
    flipped = _changed({"flip": True}, "x", _PICTURES)[0]
    same = [torch.equal(a, b) for a, b in zip(flipped, _PICTURES, strict=True)]
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(flipped, _PICTURES, strict=True)]
    assert all(one != other for one, other in zip(same, mirrored, strict=True))
    assert any(same)
    assert any(mirrored)


def test_moved_picture_is_a_cut_of_its_reflected_self():
    moved = _changed({"crop": 0.25}, "x", _PICTURES)[0]
    padded = torch.nn.functional.pad(_PICTURES, (3, 3, 4, 4), mode="reflect")
    for row in range(6):
        cuts = [padded[row, :, y : y + 16, x : x + 12] for y in range(9) for x in range(7)]
        assert any(torch.equal(moved[row], cut) for cut in cuts)


def test_cut_out_square_holds_the_mean_and_the_rest_stays():
    cut = _changed({"cutout": 0.5}, "x", _PICTURES)[0]
    for row in range(6):
        gone = (cut[row] != _PICTURES[row]).all(dim=0)
        assert 0 < int(gone.sum()) <= 9 * 7
        means = _PICTURES[row].mean(dim=(1, 2))
        assert torch.allclose(cut[row][:, gone], means[:, None].expand(-1, int(gone.sum())))
        assert torch.equal(cut[row][:, ~gone], _PICTURES[row][:, ~gone])


def test_noise_is_a_share_of_the_spread_of_the_input():
    table = torch.randn(4000, 5, generator=torch.Generator().manual_seed(1)) * 7
    noisy = _changed({"noise": 0.2}, "x", table)[0]
    assert float((noisy - table).std()) == pytest.approx(1.4, rel=0.05)


def test_gain_scales_a_wave_within_the_decibels():
    louder = _changed({"gain_db": 6}, "input_values", _WAVES)[0]
    gains = louder / _WAVES
    assert torch.allclose(gains, gains[:, :1].expand(-1, 100), rtol=1e-4)
    assert all(0.5 <= float(gain) <= 2.0 for gain in gains[:, 0])


@pytest.mark.parametrize("tensor", [_WAVES, _SPECTRA])
def test_shift_rolls_each_row(tensor):
    shifted = _changed({"shift": 0.1}, "input_values", tensor)[0]
    most = round(0.1 * tensor.shape[-1])
    for row in range(6):
        rolls = [tensor[row].roll(offset, -1) for offset in range(-most, most + 1)]
        assert any(torch.equal(shifted[row], rolled) for rolled in rolls)


def test_masking_blanks_one_stretch_of_time():
    masked = _changed({"masking": 0.3}, "input_values", _WAVES)[0]
    for row in range(6):
        gone = (masked[row] != _WAVES[row]).nonzero()[:, 0]
        assert len(gone) <= 31
        assert len(gone) == 0 or int(gone[-1] - gone[0]) == len(gone) - 1


def test_dropped_features_become_the_columns_mean():
    dropped = _changed({"feature_dropout": 0.5}, "x", _TABLE)[0]
    gone = dropped != _TABLE
    assert 0.2 < float(gone.float().mean()) < 0.8
    assert torch.allclose(dropped[gone], _TABLE.mean(0).expand_as(_TABLE)[gone])


@pytest.mark.parametrize("token", [3, None])
def test_dropped_tokens_leave_padding_and_the_first_token_alone(token):
    tokens, mask = _changed({"token_dropout": 0.5, "token": token}, "input_ids", _TOKENS, attention_mask=_MASK)
    gone = tokens != _TOKENS
    assert torch.equal(mask, _MASK)
    assert not gone[:, 0].any()
    assert not gone[_MASK == 0].any()
    assert 0.2 < float(gone[:, 1:][_MASK[:, 1:] > 0].float().mean()) < 0.7
    if token is not None:
        assert set(tokens[gone].tolist()) == {3}
    else:
        for row in range(6):
            assert set(tokens[row].tolist()) <= set(_TOKENS[row].tolist())


def test_rows_are_mixed_only_where_all_inputs_are_numbers():
    assert Augmenter(Augmentation(mixup=0.2), ("x",), (_TABLE,)).mixes
    assert not Augmenter(Augmentation(), ("x",), (_TABLE,)).mixes
    assert not Augmenter(Augmentation(mixup=0.2), ("x", "input_ids"), (_TABLE, _TOKENS)).mixes


def test_share_of_a_mixture_is_a_beta_variate():
    augmenter = Augmenter(Augmentation(mixup=0.4), ("x",), (_TABLE,))
    random = torch.Generator().manual_seed(3)
    shares = torch.tensor([augmenter.share(random) for _ in range(4000)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
    # The variance of Beta(a, a) is 1 / (4 * (2a + 1)).
    assert float(shares.var()) == pytest.approx(1 / 7.2, rel=0.06)


def test_words_stand_for_fields_and_unknown_ones_are_refused():
    assert Training(augmentation="none").augmentation == Augmentation()
    assert Training(augmentation="strong").augmentation.mixup > 0
    # What a picture means may change with its mirror image, so nobody gets that unasked.
    assert not Training(augmentation="strong").augmentation.flip
    assert Training(augmentation={"flip": True}).augmentation.flip
    with pytest.raises(ValueError, match="one of none, light, strong"):
        Training(augmentation="much")
