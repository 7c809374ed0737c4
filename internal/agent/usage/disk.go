package usage

import (
	"io/fs"
	"path/filepath"
	"syscall"
)

// DiskUse returns what the files at and below path take of their file system, which
// it does not leave. What goes away meanwhile is not counted.
func DiskUse(path string) (bytes, inodes int64) {
	type id struct{ dev, ino uint64 }
	linked := map[id]bool{}
	var top *syscall.Stat_t
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if top == nil {
			top = st
		}
		if st.Dev != top.Dev {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if st.Nlink > 1 && !e.IsDir() {
			if linked[id{st.Dev, st.Ino}] {
				return nil
			}
			linked[id{st.Dev, st.Ino}] = true
		}
		bytes, inodes = bytes+st.Blocks*512, inodes+1
		return nil
	})
	return bytes, inodes
}
