// Package query reads what docker's clients ask for: flags, bodies and filters.
//
// It decides nothing of what is asked. Errors name the parameter and the remedy.
//
// How to debug: `curl --unix-socket ... 'http://d/v1.51/services?filters=...'`.
package query

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"trireme/internal/kind"
)

// Flag returns a parameter's value as docker reads booleans.
func Flag(req *http.Request, name string) bool {
	switch strings.ToLower(strings.TrimSpace(req.FormValue(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// Body decodes the request's body into v.
func Body(req *http.Request, v any) error {
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return kind.New(kind.TooLarge, "reading the request: %v", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return kind.New(kind.Malformed, "invalid JSON: %v", err)
	}
	return nil
}

// Set are what a list is narrowed by: values by name. Values of one name are
// alternatives, names all have to be met; of labels all values have to.
type Set map[string][]string

// Filters reads the query's filters, of which only the allowed may be given. Clients
// write {"name":{"value":true}}, older ones {"name":["value"]}.
func Filters(req *http.Request, allowed ...string) (Set, error) {
	text := req.FormValue("filters")
	f := Set{}
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

// Any reports whether one of the values of the name fits, or none was given.
func (f Set) Any(name string, fits func(value string) bool) bool {
	values, given := f[name]
	return !given || len(values) == 0 || slices.ContainsFunc(values, fits)
}

// Prefix reports whether text begins with a value of the name.
func (f Set) Prefix(name, text string) bool {
	return f.Any(name, func(v string) bool { return strings.HasPrefix(text, v) })
}

// Equal reports whether text is a value of the name.
func (f Set) Equal(name, text string) bool {
	return f.Any(name, func(v string) bool { return v == text })
}

// Labels reports whether the labels have all that the values of the name ask for: KEY
// or KEY=VALUE.
func (f Set) Labels(name string, have map[string]string) bool {
	for _, v := range f[name] {
		key, value, valued := strings.Cut(v, "=")
		got, ok := have[key]
		if !ok || valued && got != value {
			return false
		}
	}
	return true
}
