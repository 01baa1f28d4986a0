"""Layers whose shape can be changed after they were made, sharing one set of weights."""

from search_spaces.elastic.causal_conv import ElasticCausalConv
from search_spaces.elastic.constant import ElasticConstant
from search_spaces.elastic.conv import ElasticConv2d
from search_spaces.elastic.conv_transpose import ElasticConvTranspose2d
from search_spaces.elastic.embedding import ElasticEmbedding, ElasticTiedLinear
from search_spaces.elastic.layer import ElasticLayer, ElasticLayers
from search_spaces.elastic.linear import ElasticLinear
from search_spaces.elastic.norm import ElasticBatchNorm2d, ElasticGroupNorm, ElasticLayerNorm, ElasticRMSNorm
from search_spaces.elastic.options import ElasticOneOf
from search_spaces.elastic.parameter import ElasticParameter
from search_spaces.elastic.positions import ElasticPositions
from search_spaces.elastic.size import ElasticSize

__all__ = [
    "ElasticBatchNorm2d",
    "ElasticCausalConv",
    "ElasticConstant",
    "ElasticConv2d",
    "ElasticConvTranspose2d",
    "ElasticEmbedding",
    "ElasticGroupNorm",
    "ElasticLayer",
    "ElasticLayerNorm",
    "ElasticLayers",
    "ElasticLinear",
    "ElasticOneOf",
    "ElasticParameter",
    "ElasticPositions",
    "ElasticRMSNorm",
    "ElasticSize",
    "ElasticTiedLinear",
]
