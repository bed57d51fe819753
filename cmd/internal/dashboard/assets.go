package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"path"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file that pages need. Its path changes with its content, so that browsers
// may cache it.
type asset struct {
	content []byte
	kind    string
	path    string
}

var assets, assetsByPath = readAssets()

func readAssets() (byName, byPath map[string]asset) {
	byName, byPath = map[string]asset{}, map[string]asset{}
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // the files are embedded
	}
	for _, f := range files {
		content, err := assetFiles.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		ext := path.Ext(f.Name())
		to := "/assets/" + strings.TrimSuffix(f.Name(), ext) + "-" + hex.EncodeToString(sum[:6]) + ext
		a := asset{content, mime.TypeByExtension(ext), to}
		byName[f.Name()], byPath[to] = a, a
	}
	return byName, byPath
}

func assetPath(name string) string { return assets[name].path }

func (v *visit) asset() error {
	a, known := assetsByPath[v.URL.Path]
	if !known {
		return v.notFound()
	}
	v.w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	v.w.Header().Set("Content-Type", a.kind)
	_, _ = v.w.Write(a.content)
	return nil
}
