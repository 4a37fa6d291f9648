// The shop's own: push messages need more than a test's browser has.
