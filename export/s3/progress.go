package s3

import (
	"io"
	"sync"
)

// progress adds up the bytes of all parts.
type progress struct {
	mu          sync.Mutex
	done, total int64
	tell        func(done, total int64)
}

func (p *progress) add(n int64) {
	if n == 0 || p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	p.tell(p.done, p.total)
}

// body is a part's content that counts as done what is read of it, and as not done what a repeated request goes back over.
func (p *progress) body(whole part) io.ReadSeeker {
	return &countedBody{section: whole.reader(), progress: p}
}

type countedBody struct {
	section  *io.SectionReader
	progress *progress
	at, done int64
}

func (b *countedBody) Read(buf []byte) (int, error) {
	n, err := b.section.Read(buf)
	b.at += int64(n)
	b.count(max(b.done, b.at))
	return n, err
}

func (b *countedBody) Seek(offset int64, whence int) (int64, error) {
	at, err := b.section.Seek(offset, whence)
	if err == nil {
		b.at = at
		b.count(min(b.done, at))
	}
	return at, err
}

func (b *countedBody) count(done int64) {
	b.progress.add(done - b.done)
	b.done = done
}
