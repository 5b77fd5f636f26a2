package builder

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"
	"sync"
)

//go:embed rehearsal.sh
var rehearsalScript string

// userData is the script that the instance gets, and that tells by lines with the nonce what it finds. key is in the form of authorized_keys.
func userData(nonce, key string) []byte {
	return []byte(strings.NewReplacer("@NONCE@", nonce, "@KEY@", strings.Fields(key)[1]).Replace(rehearsalScript))
}

// guestReport is what a guest told on its console. It reads along as the console's log.
type guestReport struct {
	line   *regexp.Regexp
	done   chan struct{} // closed when the user data has told all
	ended  chan struct{} // closed when cloud-init has said that it is through
	prompt chan struct{} // closed when there is a login prompt

	mu      sync.Mutex
	partial []byte
	values  map[string]string
	kernel  bool   // the kernel wrote
	init    bool   // and what it started
	final   string // cloud-init's last word
}

const maxReportLine = 4096

var (
	kernelLine = regexp.MustCompile(`^\[ *\d+\.\d{6}\] |^Linux version |Kernel panic - not syncing`)
	initLine   = regexp.MustCompile(`Welcome to |Reached target |Started |Starting |OpenRC|INIT: version| login:( |$)`)
	promptLine = regexp.MustCompile(` login:( |$)`) // the kernel's next message may follow on the same line
	// cloud-init's final_message: "Cloud-init v. 22.4.2 finished at … Datasource DataSourceEc2Local.  Up 30.12 seconds".
	finalLine = regexp.MustCompile(`Cloud-init v\. \S+ finished at .*?Datasource (\w+)`)
)

func newGuestReport(nonce string) *guestReport {
	return &guestReport{
		line: regexp.MustCompile(nonce + `:([a-z]+)=([^\r\n]*?):` + nonce),
		done: make(chan struct{}), ended: make(chan struct{}), prompt: make(chan struct{}), values: map[string]string{},
	}
}

// Write takes what the console printed. It never fails.
func (g *guestReport) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range p {
		switch {
		case c == '\n':
			g.read(string(g.partial))
			g.partial = g.partial[:0]
		case c != '\r' && len(g.partial) < maxReportLine:
			g.partial = append(g.partial, c)
		}
	}
	g.read(string(g.partial)) // a prompt has no end
	return len(p), nil
}

// read looks at a line, once more when it has grown; g.mu is held.
func (g *guestReport) read(line string) {
	told := false
	for _, m := range g.line.FindAllStringSubmatch(line, -1) {
		g.values[m[1]] = m[2]
		told = true
		if m[1] == "done" {
			shut(g.done)
		}
	}
	if told {
		return // our own words are no sign of the system's
	}
	plain := escapeSequence.ReplaceAllString(line, "")
	g.kernel = g.kernel || kernelLine.MatchString(plain)
	g.init = g.init || initLine.MatchString(plain)
	if m := finalLine.FindStringSubmatch(plain); m != nil {
		g.final = m[1]
		shut(g.ended)
	}
	if promptLine.MatchString(plain) {
		shut(g.prompt)
	}
}

var escapeSequence = regexp.MustCompile(`\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])`)

// shut closes a channel once.
func shut(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// told gives what the user data told, nil if it did not come to its end.
func (g *guestReport) told() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.values["done"]; !ok {
		return nil
	}
	return g.values
}

// others are the last n of the lines without what the user data told, and without repetitions, such as of an initramfs that waits.
func (g *guestReport) others(lines []string, n int) []string {
	lines = slices.Compact(slices.DeleteFunc(lines, g.line.MatchString))
	return lines[max(0, len(lines)-n):]
}

// said gives what the console showed by itself.
func (g *guestReport) said() (kernel, init bool, final string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, k := g.values["kmsg"]
	_, i := g.values["console"]
	return g.kernel || k, g.init || i, g.final
}
