"""Plots, and the numbers that they show."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowswap_mm.visualization.plots import Curve, inline_svg, plot_blocks, plot_curves, plot_where
from knowswap_mm.visualization.plots.blocks import part_of
from knowswap_mm.visualization.plots.depth import depth, depth_table, mean_gradient

PHASES = [
    dict(kind='learn', begin=0, length=90, bound=None),
    dict(kind='forget', begin=90, length=8, bound=105.0),
    dict(kind='joint', begin=98, length=2, bound=None),
]
profiles = st.lists(st.floats(0.001, 1e3), min_size=2, max_size=30)


def texts(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts]


@given(profiles)
def test_depth_lies_between_the_ends_and_mirrors(values):
    found = depth(values)
    assert 0 <= found <= 1
    assert depth(values[::-1]) == pytest.approx(1 - found, abs=1e-9)
    assert depth(np.multiply(values, 7)) == pytest.approx(found)


def test_depth_of_one_block_and_of_nothing():
    assert depth([0, 0, 5]) == 1 and depth([5, 0, 0]) == 0
    assert np.isnan(depth([0, 0]))


def test_a_mean_counts_each_step():
    phase = dict(steps=[3, 1], gradient=[[1.0, 2.0], [5.0, 2.0]])
    assert mean_gradient(phase) == [2.0, 2.0]


def test_phases_and_bounds_are_drawn():
    curve = Curve.of_role('forget', [(10, 2.0), (95, 80.0)])
    figure = plot_curves([curve, Curve.other('x', [])], PHASES, 'loss', log=True, bounds=True)
    (axes,) = figure.axes
    assert texts(figure) == ['learn', 'forget']  # the last phase is too short for its name
    assert axes.get_yscale() == 'log' and axes.get_xlim() == (0, 100)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ['forget', 'bound']


def test_a_restart_between_phases_is_no_ramp():
    """No line leads from the end of one phase to the beginning of the next."""
    points = [(10, 1.0), (90, 0.1), (92, 1.0), (98, 0.5), (99, 0.7)]
    figure = plot_curves([Curve.other('rate', points)], PHASES, 'rate', restarts=True)
    (axes,) = figure.axes
    drawn = [list(zip(*line.get_data(), strict=True)) for line in axes.lines]
    assert drawn == [points[:2], points[2:4], points[4:]]
    assert axes.lines[2].get_marker() == '.'  # a single point would be no line
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ['rate']
    figure = plot_curves([Curve.other('rate', points)], PHASES, 'rate')
    assert len(figure.axes[0].lines) == 1


def test_a_negative_term_is_not_lost():
    figure = plot_curves([Curve.other('term', [(1, -3.0), (2, 4.0)])], PHASES, 'y', log=True)
    assert figure.axes[0].get_yscale() == 'symlog'


def test_plots_of_one_page_do_not_share_ids():
    def svg(name):
        curve = Curve.of_role('learn', [(0, 1.0), (9, 2.0)], marked=True)
        return inline_svg(plot_curves([curve], PHASES, 'y'), name, '<b>"what" it shows</b>')

    first, second = svg('one'), svg('two')
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert ids[0] and not ids[0] & ids[1]
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', first))
    assert used and used <= ids[0]
    assert first.startswith('<svg') and 'metadata' not in first and '<b>' not in first
    assert svg('one') == first  # the same numbers give the same bytes


@pytest.mark.parametrize(
    ('block', 'part'),
    [
        ('backbone.stages.0.blocks.1', 'backbone'),
        ('backbone.layers.3', 'backbone'),
        ('encoder.layers.0', 'encoder'),
        ('decode_head.transformer_decoder.layers.2', 'transformer_decoder'),
        ('layers.1', 'layers'),
    ],
)
def test_part_of_a_block(block, part):
    assert part_of(block) == part


def profile(kind, shift=0.0, parts=2):
    rows = [[1.0 + shift, 2.0, 3.0]] * parts
    phase = dict(
        name=f'phase1_{kind}', kind=kind, ends=list(range(1, parts + 1)), steps=[1] * parts
    )
    phase |= dict.fromkeys(('gradient', 'share', 'change', 'update'), rows)
    blocks = ['backbone.layers.0', 'encoder.layers.0', 'encoder.layers.1']
    return dict(blocks=blocks, weight=[1.0, 1.0, 1.0], phases=[phase])


def test_profile_of_a_run():
    figure = plot_blocks(profile('learn'))
    assert texts(figure) == ['backbone', 'encoder']


def test_hosts_and_seeds_side_by_side():
    hosts = {'ViT': [profile('learn'), profile('learn', 1.0), profile('forget')]}
    figure = plot_where(hosts)
    left = figure.axes[0]
    assert len(left.lines) == 2 + 1 + 1  # two seeds and their mean, and one forget run
    assert [round(float(y), 2) for y in left.lines[2].get_ydata()] == [150, 200, 300]
    rows = depth_table(hosts).splitlines()
    assert rows[2].startswith('| ViT | learn | 2 | 0.62 [0.57, 0.67] |')
    assert rows[3].startswith('| ViT | forget | 1 | 0.67 |')


def test_phases_cut_differently_have_no_common_time():
    figure = plot_where({'ViT': [profile('learn'), profile('learn', parts=1)]})
    assert len(figure.axes[2].lines) == 0 and len(figure.axes[0].lines) == 3


@pytest.mark.parametrize(
    ('values', 'scale', 'labels'),
    [
        ([0.4, 1.9], 'linear', None),
        ([0.4, 105.0], 'log', ['0.5', '1', '2', '5', '10', '20', '50', '100']),
        ([1e-4, 1e4], 'log', ['0.0001', '0.001', '0.01', '0.1', '1', '10', '100', '1000', '10000']),
        ([0.0, 5.0], 'symlog', None),
    ],
)
def test_a_logarithmic_axis_has_few_plain_labels(values, scale, labels):
    curve = Curve.other('y', list(enumerate(values)))
    figure = plot_curves([curve], PHASES, 'y', log=True)
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    assert figure.axes[0].get_yscale() == scale
    if labels:
        low, high = axis.get_view_interval()
        shown = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
        assert [axis.get_major_formatter()(tick) for tick in shown] == labels
