package fat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
)

// run is clusters of a file that lie one behind the other.
type run struct {
	at           int64 // number of the first one in the file
	first, count uint32
}

// chain follows the table from a cluster: as far as a file of size bytes needs, or for a folder (-1) to its end.
func (f *FS) chain(first uint32, size int64) ([]run, error) {
	need := int64(maxFolder) / f.clusterSize
	if size >= 0 {
		if need = (size + f.clusterSize - 1) / f.clusterSize; need == 0 {
			return nil, nil
		}
	}
	if size >= 0 && need > int64(f.clusters) {
		return nil, fmt.Errorf("%d bytes long, more than the file system", size)
	}
	var runs []run
	t := f.newTable()
	// A chain that comes back to where it was has no end: Brent's way to notice without remembering every cluster.
	watch, steps, power := uint32(0), int64(0), int64(1)
	c := first
	for n := int64(0); ; n++ {
		if !f.valid(c) {
			if size >= 0 || n == 0 {
				return nil, fmt.Errorf("the chain of clusters ends, after %d of them, with %d", n, c)
			}
			return runs, nil
		}
		if size >= 0 && n == need {
			return runs, nil
		}
		if n >= max(need, 1) {
			return nil, fmt.Errorf("folder of more than %d bytes", int64(maxFolder))
		}
		if c == watch {
			return nil, fmt.Errorf("the chain of clusters comes back to cluster %d", c)
		}
		if steps++; steps == power {
			watch, steps, power = c, 0, power*2
		}
		if last := len(runs) - 1; last >= 0 && runs[last].first+runs[last].count == c {
			runs[last].count++
		} else if runs = append(runs, run{n, c, 1}); len(runs) > maxRuns {
			return nil, fmt.Errorf("more than %d pieces", maxRuns)
		}
		if size >= 0 && n+1 == need {
			return runs, nil
		}
		next, err := t.next(c)
		if err != nil {
			return nil, err
		}
		c = next
	}
}

// content reads the bytes of a file.
type content struct {
	f    *FS
	runs []run
	size int64
}

func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	done, cluster := 0, c.f.clusterSize
	k := sort.Search(len(c.runs), func(k int) bool { return (c.runs[k].at+int64(c.runs[k].count))*cluster > off })
	for ; k < len(c.runs) && done < len(p) && off < c.size; k++ {
		r := c.runs[k]
		skip := off - r.at*cluster
		n := min(int64(len(p)-done), int64(r.count)*cluster-skip, c.size-off)
		if err := readAt(c.f.r, p[done:done+int(n)], c.f.data+int64(r.first-2)*cluster+skip); err != nil {
			return done, err
		}
		done += int(n)
		off += n
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

func (c *content) readFull(b []byte) error { return readAt(c, b, 0) }

type openFile struct {
	*io.SectionReader
	e *entry
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.e, nil }
func (f *openFile) Close() error               { return nil }

func (f *FS) open(e *entry) (*openFile, error) {
	runs, err := f.chain(e.cluster, e.size)
	if err != nil {
		return nil, err
	}
	return &openFile{io.NewSectionReader(&content{f, runs, e.size}, 0, e.size), e}, nil
}

func (f *FS) readFile(e *entry) ([]byte, error) {
	if e.IsDir() {
		return nil, errors.New("is a directory")
	}
	if e.size > maxReadFile || e.size > f.size {
		return nil, fmt.Errorf("%d bytes long, the limit is %d", e.size, min(maxReadFile, f.size))
	}
	file, err := f.open(e)
	if err != nil {
		return nil, err
	}
	b := make([]byte, e.size)
	return b, readAt(file, b, 0)
}
