package docker

import "trireme/internal/api/docker/query"

// filters are what a list is narrowed by.
type filters query.Set

// filters reads the query's filters, of which only the allowed may be given.
func (c *call) filters(allowed ...string) (filters, error) {
	f, err := query.Filters(c.Request, allowed...)
	return filters(f), err
}

func (f filters) any(name string, fits func(value string) bool) bool {
	return query.Set(f).Any(name, fits)
}
func (f filters) prefix(name, text string) bool { return query.Set(f).Prefix(name, text) }
func (f filters) equal(name, text string) bool  { return query.Set(f).Equal(name, text) }
func (f filters) labels(name string, have map[string]string) bool {
	return query.Set(f).Labels(name, have)
}
