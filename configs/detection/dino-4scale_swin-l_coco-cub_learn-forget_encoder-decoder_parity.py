# As the official run effectively trained: adapters in encoder and decoder only (442,368 parameters), because its
# activation checkpointing kept the task's gradients from the backbone.
_base_ = ['./dino-4scale_swin-l_coco-cub_learn-forget_parity.py']
model = dict(lora=dict(targets=r'(encoder|decoder)\..*ffn\.layers\.(0\.0|1)'))
