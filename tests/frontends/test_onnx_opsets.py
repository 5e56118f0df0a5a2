"""Models of every opset compute the same before and after `normalise`."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from lutra.frontends.onnx import normalise
from lutra.ir.ort import OPSET
from onnx_models import OLD_RUNTIME, model_of, random_feeds, run

FIRST = 7
LAST = 23 if OLD_RUNTIME else 26
"""The newest opset that onnxruntime reads: without it there is nothing to compare to."""

CASES = """
7-   Gemm<alpha=0.5,beta=2.0,transB=1>(m, w64, b6)
7-   MatMul(m, w46)
7-   Conv<pads=[1,1,1,1],strides=[2,2]>(x, k, b2)
7-   Conv<auto_pad="SAME_UPPER",group=2>(x, kg)
7-   ConvTranspose<strides=[2,2]>(x, kt)
7-   BatchNormalization<epsilon=0.01>(x, p4, b4, b4, p4)
7-   InstanceNormalization(x, p4, b4)
7-   AveragePool<kernel_shape=[2,2],pads=[1,1,0,0],count_include_pad=1>(x)
7-   AveragePool<kernel_shape=[3,3],strides=[2,2]>(x)
7-   GlobalAveragePool(x)
7-   GlobalMaxPool(x)
7-   MaxPool<kernel_shape=[2,2],strides=[2,2]>(x)
7-   MaxPool<kernel_shape=[3,3],auto_pad="SAME_LOWER">(x)
7-   LRN<size=3>(x)
7-   Flatten<axis=1>(x)
9-   Flatten<axis=2>(x)
7-   Reshape(x, shape)
7-   Transpose<perm=[0,2,3,1]>(x)
7-12 Squeeze<axes=[0]>(x)
13-  Squeeze(x, axis0)
7-12 Unsqueeze<axes=[0,3]>(x)
13-  Unsqueeze(x, axes03)
7-   Concat<axis=1>(x, x)
7-9  Slice<axes=[2,3],starts=[1,-3],ends=[9,-1]>(x)
10-  Slice(x, from, to, axes23, steps)
7-10 Pad<pads=[0,0,1,2,0,0,0,1],value=0.5>(x)
7-10 Pad<mode="reflect",pads=[0,0,1,2,0,0,0,1]>(x)
11-  Pad(x, pads, half)
11-  Pad<mode="edge">(x, pads)
18-  Pad(x, pads23, half, axes23)
7-12 Split<axis=1,split=[3,1]>(x)
13-17 Split<axis=1>(x, sizes)
18-  Split<axis=1,num_outputs=2>(x)
7-   Gather<axis=1>(x, index)
7-   Tile(x, repeats)
8-   Expand(x, wide)
7-   DepthToSpace<blocksize=2>(x)
7-   SpaceToDepth<blocksize=2>(x)
7-8  Upsample<scales=[1.0,1.0,2.0,2.0]>(x)
9-9  Upsample(x, scales)
10-10 Resize(x, scales)
11-12 Resize(x, roi, scales)
13-  Resize(x, none, scales)
7-8  Upsample<mode="linear",scales=[1.0,1.0,2.0,2.0]>(x)
9-9  Upsample<mode="linear">(x, scales)
10-10 Resize(x, shrink)
10-10 Resize<mode="linear">(x, shrink)
10-10 Resize<mode="linear">(x, scales)
11-12 Resize<mode="cubic">(x, roi, scales)
10-  AveragePool<kernel_shape=[3,3],strides=[2,2],ceil_mode=1>(x)
10-  MaxPool<kernel_shape=[3,3],strides=[2,2],ceil_mode=1>(x)
10-  MaxPool<kernel_shape=[2,2],dilations=[2,2]>(x)
7-   LpPool<kernel_shape=[2,2],p=2>(x)
7-21 GlobalLpPool(x)
7-21 LpNormalization<axis=1>(x)
7-   Mean(x, x)
7-12 Split<axis=1>(x)
13-17 Split<axis=1>(x)
11-  DepthToSpace<blocksize=2,mode="CRD">(x)
11-  CumSum(x, three)
11-  GatherElements<axis=1>(x, elements)
11-  GatherND(x, index2)
12-  Einsum<equation="nchw,oc->nohw">(x, w64)
14-  Trilu<upper=0>(x)
16-  GridSample(x, grid)
7-   LSTM<hidden_size=3>(s, wl, rl)
7-   GRU<hidden_size=3>(s, wg, rg)
7-17 ReduceLogSumExp<axes=[1]>(x)
18-  ReduceLogSumExp(x, axis1)
7-17 ReduceProd(x)
7-12 ReduceSum(x)
13-  ReduceSum(x)
10-  Mod<fmod=1>(p, half)
7-   Add(x, b4s)
7-   Sub(x, p4s)
7-   Mul(x, p4s)
7-   Div(x, p4s)
7-   Pow(p, half)
7-   PRelu(x, p4s)
7-   Sum(x, x, x)
8-   Max(x, b4s)
8-   Min(x, b4s)
7-   Abs(x)
7-   Ceil(x)
7-   Cos(x)
7-10 Clip<min=-0.5,max=0.7>(x)
11-  Clip(x, low, half)
7-   Elu<alpha=0.5>(x)
9-   Erf(x)
7-   Exp(x)
7-   Floor(x)
7-   HardSigmoid(x)
7-   LeakyRelu<alpha=0.2>(x)
7-   Log(p)
7-   Neg(x)
7-   Reciprocal(p)
7-   Relu(x)
11-  Round(x)
7-   Selu(x)
7-   Sigmoid(x)
9-   Sign(x)
7-   Sin(x)
7-   Softplus(x)
7-   Softsign(x)
7-   Sqrt(p)
7-   Tanh(x)
10-  ThresholdedRelu<alpha=0.3>(x)
12-  Celu(x)
14-  HardSwish(x)
18-  Mish(x)
20-  Gelu(x)
24-24 Swish<alpha=0.5>(x)
7-   Softmax<axis=1>(x)
7-   Softmax<axis=-1>(x)
7-   LogSoftmax<axis=2>(x)
7-   Hardmax<axis=2>(x)
17-  LayerNormalization<axis=1>(x, x)
21-  GroupNormalization<num_groups=2>(x, p4, b4)
23-  RMSNormalization(x, p6)
9-   MeanVarianceNormalization(x)
7-12 ReduceSum<axes=[2,3]>(x)
13-  ReduceSum(x, axes23)
7-17 ReduceMean<axes=[1],keepdims=0>(x)
18-  ReduceMean<keepdims=0>(x, axis1)
7-17 ReduceMax<axes=[-1]>(x)
18-  ReduceMax(x, axis1)
7-17 ReduceL2<axes=[2]>(x)
7-   ArgMax<axis=1,keepdims=0>(x)
7-9  TopK<axis=3,k=2>(x)
10-  TopK<axis=3>(x, two)
7-11 Dropout<ratio=0.4>(x)
12-  Dropout(x, half)
7-   Identity(x)
"""

INPUTS = "float[N, 4, 6, 6] x, float[N, 4] m, float[N, 5, 4] t"

CONSTANTS = """
  float[6, 4] w64, float[4, 6] w46, float[6] b6, float[2, 4, 3, 3] k, float[2] b2, float[0] roi,
  float[4, 2, 3, 3] kg, float[4, 3, 2, 2] kt, float[4] p4, float[4] b4, float[6] p6,
  float[4, 1, 1] p4s, float[4, 1, 1] b4s,
  int64[2] shape = {-1, 36}, int64[1] axis0 = {0}, int64[1] axis1 = {1},
  int64[2] axes03 = {0, 3}, int64[2] axes23 = {2, 3}, int64[2] from = {1, -1},
  int64[2] to = {9, -6}, int64[2] steps = {2, -2}, int64[8] pads = {0, 0, 1, 2, 0, 0, 0, 1},
  int64[4] pads23 = {1, 2, 0, 1}, int64[2] sizes = {3, 1}, int64[2] index = {2, 0},
  int64[4] repeats = {1, 2, 1, 3}, int64[5] wide = {2, 1, 4, 6, 6}, int64[1] two = {2},
  float[4] scales = {1, 1, 2, 2},
  float[4] shrink = {1, 1, 0.4, 0.7}, float half = {0.5}, float low = {-0.25},
  int64 three = {3}, int64[1, 2, 1, 1] elements = {3, 1}, int64[1, 2] index2 = {0, 2},
  float[1, 3, 3, 2] grid, float[1, 12, 4] wl, float[1, 12, 3] rl, float[1, 9, 4] wg,
  float[1, 9, 3] rg
"""


def cases(opset: int) -> list[str]:
    found = []
    for line in CASES.strip().splitlines():
        span, call = line.split(maxsplit=1)
        first, last = span.split("-")
        if int(first) <= opset <= int(last or LAST):
            found.append(call.replace("none", ""))
    return found


def model_at(opset: int) -> onnx.ModelProto:
    """One model with a node for each case of this opset, all on the same inputs."""
    nodes, outputs = ["p = Exp(x)", "s = Transpose<perm=[1, 0, 2]>(t)"], []
    for i, call in enumerate(cases(opset)):
        pair = call.startswith(("Split", "TopK"))
        nodes.append(f"y{i}{f', z{i}' if pair else ''} = {call}")
        outputs.append(f"{'int64' if call.startswith('ArgMax') else 'float'}[] y{i}")
    model = model_of(
        f"g ({INPUTS}) => ({', '.join(outputs)}) <{CONSTANTS}> {{ {chr(10).join(nodes)} }}", opset
    )
    fill(model)
    return model


def fill(model: onnx.ModelProto) -> None:
    """Give values to the constants that are declared without any; those of p... are positive."""
    rng = np.random.default_rng(1)
    for value in model.graph.value_info:
        array = rng.standard_normal([dim.dim_value for dim in value.type.tensor_type.shape.dim])
        array = np.abs(array) + 0.1 if value.name.startswith("p") else array
        tensor = onnx.numpy_helper.from_array(array.astype(np.float32), value.name)
        model.graph.initializer.append(tensor)
    del model.graph.value_info[:]


@pytest.mark.parametrize("opset", range(FIRST, LAST + 1))
def test_results_stay(opset: int) -> None:
    model = model_at(opset)
    for i, node in enumerate(model.graph.node):
        node.name = f"node{i}"
    normal = normalise(model)
    found = {node.name.split("/")[0] for node in normal.graph.node}
    assert {node.name for node in model.graph.node} <= found
    assert [o.version for o in normal.opset_import if not o.domain] == [OPSET]
    feeds = random_feeds(normal)
    before, after = run(model, feeds), run(normal, feeds)
    for call, old, new in zip(model.graph.output, before, after, strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5, err_msg=call.name)


def test_every_operator_of_the_list_is_tried() -> None:
    assert len(cases(FIRST)) > 60
    assert len(cases(LAST)) > 80
