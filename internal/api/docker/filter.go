package docker

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"trireme/internal/kind"
)

// filters are what a list is narrowed by: values by name. Values of one name are
// alternatives, names all have to be met; of labels all values have to.
type filters map[string][]string

// filters reads the query's filters, of which only the allowed may be given. Clients
// write {"name":{"value":true}}, older ones {"name":["value"]}.
func (c *call) filters(allowed ...string) (filters, error) {
	text := c.FormValue("filters")
	f := filters{}
	if text == "" {
		return f, nil
	}
	var sets map[string]map[string]bool
	if err := json.Unmarshal([]byte(text), &sets); err != nil {
		sets = nil
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return nil, kind.New(kind.Malformed, "invalid filters: %q is not of the form {\"NAME\":{\"VALUE\":true}}", text)
		}
	}
	for name, values := range sets {
		f[name] = slices.Sorted(maps.Keys(values))
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !slices.Contains(allowed, name) {
			return nil, kind.New(kind.Malformed, "invalid filter '%s': the filters here are %s", name, strings.Join(allowed, ", "))
		}
	}
	return f, nil
}

// any reports whether one of the values of the name fits, or none was given.
func (f filters) any(name string, fits func(value string) bool) bool {
	values, given := f[name]
	return !given || len(values) == 0 || slices.ContainsFunc(values, fits)
}

// prefix reports whether text begins with a value of the name.
func (f filters) prefix(name, text string) bool {
	return f.any(name, func(v string) bool { return strings.HasPrefix(text, v) })
}

// equal reports whether text is a value of the name.
func (f filters) equal(name, text string) bool {
	return f.any(name, func(v string) bool { return v == text })
}

// labels reports whether the labels have all that the values of the name ask for: KEY
// or KEY=VALUE.
func (f filters) labels(name string, have map[string]string) bool {
	for _, v := range f[name] {
		key, value, valued := strings.Cut(v, "=")
		got, ok := have[key]
		if !ok || valued && got != value {
			return false
		}
	}
	return true
}
