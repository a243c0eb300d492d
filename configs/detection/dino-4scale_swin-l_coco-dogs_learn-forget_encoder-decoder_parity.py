# As the official run effectively trained, on five breeds of Stanford Dogs: adapters in encoder and decoder only.
_base_ = ['./dino-4scale_swin-l_coco-dogs_learn-forget_parity.py']
model = dict(lora=dict(targets=r'(encoder|decoder)\..*ffn\.layers\.(0\.0|1)'))
