"""The networks of docs/zoo.md: the smallest variant of every convolutional family, and others that differ in kind.

A family of timm is a module of timm. The smallest are those with the fewest parameters in timm 1.0.31, its ``test_``
models aside, which are no networks that anyone trains.
"""

from dataclasses import dataclass

__all__ = ["FAMILIES", "NO_CONVNETS", "Network"]


@dataclass(frozen=True, slots=True)
class Network:
    """A network by the name that `anysize verify` takes."""

    name: str
    family: str

    @property
    def library(self) -> str:
        """``timm``, ``torchvision`` or ``smp``."""
        return self.name.partition(":")[0]


_TIMM = {
    # Branches to be merged, squeeze and excite, global context (gc), bilinear attention over channels (bat).
    "byobnet": "mobileone_s1 gernet_s repvgg_a0 regnetz_b16 resnext26ts eca_resnext26ts seresnext26ts gcresnext26ts "
    "bat_resnext26ts resnet32ts resnet50_clip_gap",
    "convmixer": "convmixer_768_32",
    "convnext": "convnext_zepto_rms convnext_atto convnext_atto_ols convnextv2_atto convnext_tiny_hnf",
    "cspnet": "cs3darknet_focus_s cs3darknet_s darknet17 sedarknet21 cspresnext50 cs3sedarknet_xdw darknetaa53",
    "cspnext": "cspnext_tiny",
    "densenet": "densenet121 densenetblur121d",
    "dla": "dla46x_c dla34 dla60_res2net dla60_res2next",
    "dpn": "dpn48b dpn68",
    # SAME padding (tf_), mixed depthwise kernels, group norm, no squeeze-excite (lite, es), blur, condconv.
    "efficientnet": "mobilenetv2_035 mnasnet_small tinynet_e semnasnet_050 mixnet_s tf_mixnet_s spnasnet_100 "
    "mobilenetv1_100 fbnetc_100 efficientnet_lite0 efficientnet_b0 efficientnet_b0_gn efficientnet_blur_b0 "
    "tf_efficientnet_b0 efficientnet_es mobilenet_edgetpu_v2_xs efficientnetv2_rw_t tf_efficientnetv2_b0 "
    "efficientnet_cc_b0_4e",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",  # its token mixers are convolutions; larger variants have attention
    "focalnet": "focalnet_tiny_srf",
    "ghostnet": "ghostnet_050 ghostnetv2_100 ghostnetv3_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0 hgnet_tiny",
    "hrnet": "hrnet_w18_small",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "mambaout": "mambaout_femto",  # Mamba's block without its state space: gated convolutions
    "metaformer": "poolformer_s12 poolformerv2_s12 convformer_s18",
    "mobilenetv3": "lcnet_035 mobilenetv3_small_050 tf_mobilenetv3_small_minimal_100 mobilenetv4_conv_small "
    "mobilenetv4_conv_blur_medium fbnetv3_b mobilenetv3_rw",
    "nasnet": "nasnetalarge",
    "nfnet": "nf_regnet_b0 nf_resnet26 nf_ecaresnet26 nf_seresnet26 eca_nfnet_l0 dm_nfnet_f0",
    "pnasnet": "pnasnet5large",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002 regnety_002 regnetz_005 regnetv_040",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m0_9",
    "res2net": "res2next50 res2net50_14w_8s",
    "resnest": "resnest14d resnest50d_4s2x40d",
    # Average-pool shortcuts (d, t), blur pools, anti-aliasing, group norm, squeeze-excite, efficient channel attention.
    "resnet": "resnet10t resnet18 resnet18d resnetblur18 seresnet18 ecaresnet26t resnetaa34d resnext50_32x4d "
    "resnet50_gn seresnext26d_32x4d resnetrs50",
    "resnetv2": "resnetv2_18 resnetv2_18d resnetv2_50 resnetv2_50x1_bit resnetv2_50d_gn resnetv2_50d_evos "
    "resnetv2_50d_frn",
    "rexnet": "rexnet_100 rexnetr_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18 legacy_seresnext26_32x4d",
    "sknet": "skresnet18 skresnext50_32x4d",
    "starnet": "starnet_s050",
    "tresnet": "tresnet_m",
    "vgg": "vgg11 vgg11_bn",
    "vovnet": "ese_vovnet19b_slim_dw vovnet39a eca_vovnet39b",
    "xception": "legacy_xception",
    "xception_aligned": "xception41 xception41p",
}

_ATTENTION = "attention over all positions or windows, alone or between convolutions"
_PATCHES = "a vision transformer"
NO_CONVNETS = {
    **dict.fromkeys(
        (
            "beit", "cait", "coat", "convit", "crossvit", "deepseek_vit", "deit", "eva", "gemma4_vit", "hiera",
            "hieradet_sam2", "levit", "mvitv2", "naflexvit", "nest", "pit", "pvt_v2", "qwen3_vit", "swin_transformer",
            "swin_transformer_v2", "swin_transformer_v2_cr", "tiny_vit", "tnt", "twins", "vision_transformer",
            "vision_transformer_hybrid", "vision_transformer_relpos", "vision_transformer_sam", "vitamin", "volo",
            "xcit",
        ),
        _PATCHES,
    ),
    **dict.fromkeys(
        (
            "byoanet", "cpubone", "csatv2", "davit", "edgenext", "efficientformer", "efficientformer_v2",
            "efficientvit_mit", "efficientvit_msra", "gcvit", "iformer", "lowformer", "maxxvit", "mobilenetv5",
            "mobilevit", "nextvit", "shvit", "swiftformer", "visformer",
        ),
        _ATTENTION,
    ),
    "efficientvim": "a state space over the positions",
    "mlp_mixer": "matrices over a fixed number of positions",
    "sequencer": "recurrent over rows and columns",
}  # fmt: skip
"""Modules of timm that are left out, with the reason."""

_TORCHVISION = {
    "alexnet": "alexnet",
    "convnext": "convnext_tiny",
    "densenet": "densenet121",
    "efficientnet": "efficientnet_b0 efficientnet_v2_s",
    "googlenet": "googlenet",
    "inception": "inception_v3",
    "mnasnet": "mnasnet0_5",
    "mobilenet": "mobilenet_v2 mobilenet_v3_small mobilenet_v3_large",
    "regnet": "regnet_x_400mf regnet_y_400mf",
    "resnet": "resnet18 resnet50 resnext50_32x4d wide_resnet50_2",
    "shufflenet": "shufflenet_v2_x0_5",
    "squeezenet": "squeezenet1_0 squeezenet1_1",
    "vgg": "vgg11 vgg11_bn",
    "video": "r3d_18 mc3_18 r2plus1d_18 s3d",
    "deeplabv3": "deeplabv3_mobilenet_v3_large deeplabv3_resnet50 deeplabv3_resnet101",
    "fcn": "fcn_resnet50 fcn_resnet101",
    "lraspp": "lraspp_mobilenet_v3_large",
}

_DECODERS = (
    "Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet",
    "Segformer",
)  # fmt: skip
_ENCODERS = ("resnet18", "mobilenet_v2", "timm-efficientnet-b0")

FAMILIES: tuple[Network, ...] = (
    *(Network(f"timm:{name}", family) for family, names in _TIMM.items() for name in names.split()),
    *(Network(f"torchvision:{name}", family) for family, names in _TORCHVISION.items() for name in names.split()),
    *(Network(f"smp:{decoder}/{encoder}", decoder) for decoder in _DECODERS for encoder in _ENCODERS),
    Network("smp:DPT/tu-vit_tiny_patch16_224", "DPT"),  # takes vision transformers only
)
"""Every network of the table, in its order."""
