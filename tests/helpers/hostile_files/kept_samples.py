"""Bytes in the place of a kept sample, with a good checksum; ``flag`` appears if code runs."""

import pickle
import struct
import subprocess

import numpy as np

from tests.helpers.hostile_files.case import Cases
from tests.helpers.hostile_files.pickles import Call, touch

KEPT_SAMPLES = Cases()
case = KEPT_SAMPLES.case


def framed(plain, arrays=b''):
    """As the codec frames a pickle and its arrays."""
    start = struct.pack('<Q', len(plain)) + plain
    return start + bytes(-len(start) % 64) + arrays


class Placed(pickle.Pickler):
    """Writes one array's place as a case says it."""

    def __init__(self, file, place):
        super().__init__(file, protocol=5)
        self.place = place

    def persistent_id(self, value):
        return self.place if isinstance(value, np.ndarray) else None


def placed(*place):
    import io

    file = io.BytesIO()
    Placed(file, place).dump((dict(img=np.zeros(1)), []))
    return framed(file.getvalue(), bytes(64))


case('system')(lambda flag: framed(pickle.dumps((touch(flag), []))))
case('popen')(lambda flag: framed(pickle.dumps(Call(subprocess.Popen, ['touch', str(flag)]))))
case('eval_in_a_field')(
    lambda flag: framed(pickle.dumps((dict(img=Call(eval, f'open({str(flag)!r}, "w")')), [])))
)
case('plain_pickle')(lambda flag: pickle.dumps(touch(flag)))
case('memo')(lambda flag: framed(b'\x80\x02}r' + struct.pack('<I', 0xFFFFFFFE) + b'.'))
case('length_beyond_the_end')(lambda flag: struct.pack('<Q', 1 << 62) + bytes(64))
case('nothing')(lambda flag: b'')
case('zeros')(lambda flag: bytes(256))
case('a_number')(lambda flag: framed(pickle.dumps(5)))
case('a_list_of_fields')(lambda flag: framed(pickle.dumps((['img'], []))))
case('three_parts')(lambda flag: framed(pickle.dumps(({}, [], []))))
case('removed_is_a_text')(lambda flag: framed(pickle.dumps(({}, 'img'))))
case('array_beyond_the_end')(lambda flag: placed('array', 0, '|u1', (1 << 40,), False, 0))
case('array_of_negative_size')(lambda flag: placed('array', 0, '|u1', (-5,), False, 0))
case('array_of_objects')(lambda flag: placed('array', 0, '|O', (8,), False, 0))
case('array_of_no_type')(lambda flag: placed('array', 0, 'nothing', (8,), False, 0))
case('array_at_no_place')(lambda flag: placed('array', 0, '|u1', (8,), False, 'here'))
case('deep')(lambda flag: framed(b'\x80\x02' + b']' * 50_000 + b'a' * 49_999 + b'.'))
