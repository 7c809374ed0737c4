package tables

import (
	"encoding/binary"
	"maps"
	"runtime"
	"slices"
	"sync"
	"weak"
)

// labelSet is labels that rows which are alike share: replicas of one template have the
// same ones, and a map of two takes 400 bytes.
type labelSet struct{ labels map[string]string }

// labelSets are the sets in use, by their text.
var labelSets = struct {
	sync.RWMutex
	byText map[string]weak.Pointer[labelSet]
}{byText: map[string]weak.Pointer[labelSet]{}}

// alikeLabels returns the one set that equals the labels. It lives as long as somebody
// holds it.
func alikeLabels(labels map[string]string) *labelSet {
	if len(labels) == 0 {
		return &labelSet{}
	}
	var room [512]byte // nearly all fit: each write of a pod asks
	text := labelText(room[:0], labels)
	labelSets.RLock()
	have := labelSets.byText[string(text)].Value()
	labelSets.RUnlock()
	if have != nil {
		return have
	}
	labelSets.Lock()
	defer labelSets.Unlock()
	if have = labelSets.byText[string(text)].Value(); have != nil {
		return have
	}
	made, key := &labelSet{maps.Clone(labels)}, string(text)
	p := weak.Make(made)
	labelSets.byText[key] = p
	runtime.AddCleanup(made, func(key string) {
		labelSets.Lock()
		defer labelSets.Unlock()
		if labelSets.byText[key] == p {
			delete(labelSets.byText, key)
		}
	}, key)
	return made
}

// labelText appends the labels in the order of their names, each name and value after
// its length.
func labelText(text []byte, labels map[string]string) []byte {
	var room [16]string
	names := room[:0]
	for name := range labels {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, s := range [2]string{name, labels[name]} {
			text = append(binary.AppendUvarint(text, uint64(len(s))), s...)
		}
	}
	return text
}
