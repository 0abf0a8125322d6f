from .models.plug import prune as prune
from .models.plug import select as select

__version__: str
