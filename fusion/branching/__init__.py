"""One network over features, taken apart into neurons that several behaviours share and neurons of one alone."""
