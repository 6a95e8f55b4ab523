//go:build unix && !linux

package test

// connectByName starts the inlet.
func (o *ordeal) connectByName(flags []string) { o.connect(o.route(), flags...) }

// names does nothing: the relay has no name.
func (o *ordeal) names(...string) {}

// harmsOfSystem are those that need Linux.
func (o *ordeal) harmsOfSystem() []harm { return nil }
