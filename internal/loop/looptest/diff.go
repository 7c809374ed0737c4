package looptest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"trireme/internal/store"
)

// flat is an object as paths and values.
type flat map[string]string

// hidden are fields that differ from run to run or say nothing.
var hidden = []string{"metadata.uid", "metadata.resourceVersion", "metadata.creationTimestamp", "metadata.name", "metadata.namespace", "kind", "apiVersion"}

// Diff returns what changed since the last Diff, as text, and remembers the
// rows. See the package comment for the form.
func (w *World) Diff() string {
	now := w.flat()
	keys := slices.Collect(maps.Keys(now))
	for k := range w.seen {
		if now[k] == nil {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		writeDiff(&b, k, w.seen[k], now[k])
	}
	w.seen = now
	return b.String()
}

// Text returns every row, as Diff writes a new one.
func (w *World) Text() string {
	rows := w.flat()
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		writeDiff(&b, k, nil, rows[k])
	}
	return b.String()
}

func writeDiff(b *strings.Builder, key string, old, now flat) {
	switch {
	case old == nil:
		fmt.Fprintf(b, "+ %s\n", key)
	case now == nil:
		fmt.Fprintf(b, "- %s\n", key)
		return
	case maps.Equal(old, now):
		return
	default:
		fmt.Fprintf(b, "~ %s\n", key)
	}
	paths := slices.Collect(maps.Keys(now))
	for p := range old {
		if _, ok := now[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	for _, p := range paths {
		was, before := old[p]
		is, after := now[p]
		switch {
		case !before:
			fmt.Fprintf(b, "    %s: %s\n", p, is)
		case !after:
			fmt.Fprintf(b, "    %s: %s → none\n", p, was)
		case was != is:
			fmt.Fprintf(b, "    %s: %s → %s\n", p, was, is)
		}
	}
}

func (w *World) flat() map[string]flat {
	snap := w.Store.Head()
	rows := map[string]flat{}
	for _, table := range w.all {
		for o := range table.All(snap) {
			w.names[string(o.GetUID())] = "uid-of-" + o.GetName() // those that are gone stay known
		}
	}
	for _, table := range w.all {
		for row := range table.Rows(snap, "") {
			rows[string(table.ID())+" "+row.Key().String()] = w.flatten(row.Object())
		}
	}
	return rows
}

func (w *World) flatten(o store.Object) flat {
	var tree map[string]any
	w.must(json.Unmarshal(w.json(o), &tree))
	f := flat{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, c := range v {
				walk(strings.TrimPrefix(path+"."+k, "."), c)
			}
		case []any:
			for i, c := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), c)
			}
		case nil:
		case string:
			if name := w.names[v]; name != "" {
				v = name
			}
			f[path] = v
		case float64:
			f[path] = fmt.Sprintf("%.0f", v)
		default:
			f[path] = fmt.Sprint(v)
		}
	}
	walk("", tree)
	for _, h := range hidden {
		delete(f, h)
	}
	return f
}
