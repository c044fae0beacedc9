"""The descriptor pool of our Open Inference Protocol bindings, apart from protobuf's default pool.

tritonclient, kserve and mlserver each register `inference.ServerLiveRequest` and its siblings in the default pool,
and a pool refuses a second definition. Ours live here, so any of them can be imported beside us, in either order.
"""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
