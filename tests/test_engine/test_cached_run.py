"""A swap whose images come from the cache is the swap without it."""

import pytest

from tests.helpers.swap_configs import assert_same_weights, forget, learn, swap_config, train


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('where', ['memory', 'disk'])
def test_weights_are_the_same(picture_tree, host, tmp_path, where, workers):
    phases = [learn(epochs=2), forget(iters=3, merge_learned=True)]
    weights = {}
    for name, cache in (('without', None), ('cached', dict(where=where, size='10MB'))):
        if where == 'disk' and cache:
            cache['folder'] = str(tmp_path / 'kept')
        config = swap_config(
            picture_tree,
            tmp_path / name,
            phases,
            host=host,
            dropout=0.1,
            train_dataloader__num_workers=workers if cache else 0,
            train_dataloader__dataset__cache=cache,
        )
        runner, _ = train(config)
        weights[name] = runner.swapper.state_dict()
        pipelines = {v.cached_pipeline for v in runner.train_dataloader.dataset.views.values()}
        assert (None in pipelines) == (cache is None)
    assert_same_weights(weights['without'], weights['cached'])
