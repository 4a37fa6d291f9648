"""The Emarsys contract: client service, device events and inbox, as real SDKs speak them."""
