"""Images within tar files (WebDataset shards), read where they lie and never extracted."""

from anysize.data.shards.build import open_side_index
from anysize.data.shards.members import ShardImage, ShardMembers, ShardPaths
from anysize.data.shards.side_index import SideIndex

__all__ = ["ShardImage", "ShardMembers", "ShardPaths", "SideIndex", "open_side_index"]
