package volume

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object"
)

// idMax is the largest number of a user or group (linux, uid_t without its last).
const idMax = 1<<32 - 2

// own gives files of the volume to the users that the pod's annotation names.
func own(files map[string]file, pod *corev1.Pod, volume string) error {
	key := object.FileOwnersAnnotation(volume)
	text := pod.Annotations[key]
	if text == "" {
		return nil
	}
	var owners map[string]string
	if err := json.Unmarshal([]byte(text), &owners); err != nil {
		return fmt.Errorf("annotation %s: it is not of the form {\"PATH\":\"UID:GID\"}: %w", key, err)
	}
	for path, owner := range owners {
		f, ok := files[path]
		if !ok {
			return fmt.Errorf("annotation %s: the volume has no file %q", key, path)
		}
		uid, gid, _ := strings.Cut(owner, ":")
		for text, id := range map[string]**int64{"user " + uid: &f.uid, "group " + gid: &f.gid} {
			word, digits, _ := strings.Cut(text, " ")
			n, err := strconv.ParseInt(digits, 10, 64)
			if err != nil || n < 0 || n > idMax {
				return fmt.Errorf("annotation %s: %s: %q is no number of a %s: write UID:GID", key, path, digits, word)
			}
			*id = &n
		}
		files[path] = f
	}
	return nil
}
