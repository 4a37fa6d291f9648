"""Contact data, application metadata and merchant settings where other services keep them, over HTTP."""
