package test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/secureportal/sp/internal/testenv"
)

// browser is a Chromium without a window, with one tab. It is told what to do over two pipes, in
// the DevTools protocol: JSON, with a NUL behind each message. It is for one goroutine.
type browser struct {
	t       testing.TB
	to      *os.File
	from    *bufio.Reader
	said    *os.File
	last    int    // number of a call
	session string // with the tab

	complaints []string // what the browser has said by itself: errors of scripts and of policies
}

// newBrowser starts one. It is missing on most machines: then the test is skipped.
func newBrowser(t testing.TB) *browser {
	t.Helper()
	chromium := testenv.NeedTool(t, "chromium")
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir())
	cmd.ExtraFiles = []*os.File{in, out}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = in.Close(), out.Close()
	b := &browser{t: t, to: to, said: from, from: bufio.NewReader(from)}
	t.Cleanup(func() {
		_, _ = to.Close(), from.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // and all that it has started
		_ = cmd.Wait()
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true},
		&attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// message is what goes either way.
type message struct {
	ID      int                       `json:"id,omitempty"`
	Session string                    `json:"sessionId,omitempty"`
	Method  string                    `json:"method,omitempty"`
	Params  any                       `json:"params,omitempty"`
	Result  json.RawMessage           `json:"result,omitempty"`
	Error   *struct{ Message string } `json:"error,omitempty"`
}

// call has the browser do something, and waits until it has.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.last++
	q, err := json.Marshal(message{ID: b.last, Session: b.session, Method: method, Params: params})
	if err != nil {
		b.t.Fatal(err)
	}
	_ = b.to.SetWriteDeadline(time.Now().Add(patience))
	if _, err := b.to.Write(append(q, 0)); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	for {
		_ = b.said.SetReadDeadline(time.Now().Add(patience))
		text, err := b.from.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		var a message
		if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &a); err != nil {
			b.t.Fatalf("%s: %v", text, err)
		}
		switch {
		case a.Method == "Log.entryAdded", a.Method == "Runtime.exceptionThrown":
			b.complaints = append(b.complaints, string(text))
		case a.ID != b.last:
		case a.Error != nil:
			b.t.Fatalf("%s: %s", method, a.Error.Message)
		default:
			if result != nil {
				err = json.Unmarshal(a.Result, result)
			}
			if err != nil {
				b.t.Fatalf("%s: %v", text, err)
			}
			return
		}
	}
}

// eval returns what an expression of JavaScript comes to in the page.
func (b *browser) eval(expression string) any {
	b.t.Helper()
	var a struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Text string }
	}
	b.call("Runtime.evaluate", map[string]any{
		"expression": expression, "returnByValue": true, "awaitPromise": true,
	}, &a)
	if a.ExceptionDetails != nil {
		b.t.Fatalf("%s: %+v", expression, a.ExceptionDetails)
	}
	return a.Result.Value
}

// is waits until an expression is true.
func (b *browser) is(expression string) {
	b.t.Helper()
	eventually(b.t, expression, func() bool { return b.eval(expression) == true })
}

// open shows a page, and waits until all of it is there.
func (b *browser) open(url string) {
	b.t.Helper()
	var a struct{ ErrorText string }
	b.call("Page.navigate", map[string]any{"url": url}, &a)
	if a.ErrorText != "" {
		b.t.Fatalf("%s: %s", url, a.ErrorText)
	}
	b.is(`document.readyState === "complete" && location.protocol.startsWith("http")`)
}

// looks has pages be shown as somebody wants them who has this much room.
func (b *browser) looks(scheme string, width, height int) {
	b.t.Helper()
	b.call("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
	}, nil)
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
	}, nil)
}

// presses has a key be pressed.
func (b *browser) presses(key, text string, code int) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		p := map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
		if kind == "keyDown" && text != "" {
			p["text"] = text
		}
		b.call("Input.dispatchKeyEvent", p, nil)
	}
}

// picture writes what is shown into a file, in few colors, so that it is small.
func (b *browser) picture(file string) {
	b.t.Helper()
	var shot struct{ Data []byte }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	full, err := png.Decode(bytes.NewReader(shot.Data))
	if err != nil {
		b.t.Fatal(err)
	}
	few := image.NewPaletted(full.Bounds(), commonColors(full))
	draw.Draw(few, few.Bounds(), full, image.Point{}, draw.Src)
	var text bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&text, few); err != nil {
		b.t.Fatal(err)
	}
	if text.Len() > 100<<10 {
		b.t.Errorf("%s has %d bytes", file, text.Len())
	}
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// commonColors are those that most of a picture has.
func commonColors(of image.Image) color.Palette {
	count := make(map[color.RGBA]int)
	for y := of.Bounds().Min.Y; y < of.Bounds().Max.Y; y++ {
		for x := of.Bounds().Min.X; x < of.Bounds().Max.X; x++ {
			count[color.RGBAModel.Convert(of.At(x, y)).(color.RGBA)]++
		}
	}
	all := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Compare(count[b], count[a])
	})
	var common color.Palette
	for _, c := range all[:min(len(all), 32)] {
		common = append(common, c)
	}
	return common
}

// quiet fails the test if the browser has found something wrong with a page.
func (b *browser) quiet() {
	b.t.Helper()
	b.eval("1") // what has happened is said before the answer
	for _, text := range b.complaints {
		b.t.Errorf("the browser says %s", text)
	}
	b.complaints = nil
}

func (b *browser) text(expression string) string {
	b.t.Helper()
	return fmt.Sprint(b.eval(expression))
}
