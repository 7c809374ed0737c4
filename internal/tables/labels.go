package tables

import (
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"weak"
)

// labelSet is labels that rows which are alike share: replicas of one template have the
// same ones, and a map of two takes 400 bytes.
type labelSet struct{ labels map[string]string }

// labelSets are the sets in use, by their text.
var labelSets sync.Map // of string to weak.Pointer[labelSet]

// alikeLabels returns the one set that equals the labels. It lives as long as somebody
// holds it.
func alikeLabels(labels map[string]string) *labelSet {
	if len(labels) == 0 {
		return &labelSet{}
	}
	var text []byte
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		text = strconv.AppendQuote(strconv.AppendQuote(text, name), labels[name])
	}
	key := string(text)
	for made := (*labelSet)(nil); ; {
		have, ok := labelSets.Load(key)
		if ok {
			if s := have.(weak.Pointer[labelSet]).Value(); s != nil {
				return s
			}
			labelSets.CompareAndDelete(key, have) // collected, and not yet cleaned up
		}
		if made == nil {
			made = &labelSet{maps.Clone(labels)}
		}
		p := weak.Make(made)
		if _, taken := labelSets.LoadOrStore(key, p); !taken {
			runtime.AddCleanup(made, func(key string) { labelSets.CompareAndDelete(key, p) }, key)
			return made
		}
	}
}
