# Flattens JSON: one line for each value, its path, a tab and the value, such as
#     networks/0/routes/1/gateway<TAB>10.0.0.1
# Strings lose their quotes and escapes; a line break or a tab inside one stays written as \n or \t.

function decode(text,    result, escape, code) {
    result = ""
    while (match(text, /\\./)) {
        escape = substr(text, RSTART + 1, 1)
        result = result substr(text, 1, RSTART - 1)
        text = substr(text, RSTART + 2)
        if (escape == "u") {
            code = hexadecimal(substr(text, 1, 4))
            text = substr(text, 5)
            if (code >= 55296 && code < 56320 && text ~ /^\\u[dD][c-fC-F]/) {
                code = 65536 + (code - 55296) * 1024 + hexadecimal(substr(text, 3, 4)) - 56320
                text = substr(text, 7)
            }
            result = result encode(code)
        } else if (escape ~ /[nt]/) {
            result = result "\\" escape
        } else if (escape !~ /[bfr]/) {
            result = result escape
        }
    }
    return result text
}

function hexadecimal(digits,    value, place) {
    value = 0
    for (place = 1; place <= length(digits); place++)
        value = value * 16 + index("0123456789abcdef", tolower(substr(digits, place, 1))) - 1
    return value
}

function encode(code) {
    if (code == 10) return "\\n"
    if (code == 9) return "\\t"
    if (code < 32) return ""
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    if (code < 65536)
        return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
    return sprintf("%c%c%c%c", 240 + int(code / 262144), 128 + int(code / 4096) % 64,
        128 + int(code / 64) % 64, 128 + code % 64)
}

# A value begins: inside a list its place becomes the last part of its path.
function begin_value() {
    if (kind[depth] == "[")
        key[depth] = count[depth]++
    path[depth + 1] = depth == 0 ? "" : (path[depth] == "" ? key[depth] : path[depth] "/" key[depth])
}

{ document = document $0 "\n" }

END {
    depth = 0
    while (match(document, /^[ \t\r\n]*("([^"\\]|\\.)*"|[][{},:]|[^][{},:" \t\r\n]+)/)) {
        token = substr(document, 1, RLENGTH)
        document = substr(document, RLENGTH + 1)
        sub(/^[ \t\r\n]+/, "", token)
        if (token == "{" || token == "[") {
            begin_value()
            depth++
            kind[depth] = token
            count[depth] = 0
            expect_key[depth] = token == "{"
        } else if (token == "}" || token == "]") {
            depth--
        } else if (token == ",") {
            expect_key[depth] = kind[depth] == "{"
        } else if (token != ":") {
            value = token ~ /^"/ ? decode(substr(token, 2, length(token) - 2)) : token
            if (expect_key[depth]) {
                key[depth] = value
                expect_key[depth] = 0
            } else {
                begin_value()
                print path[depth + 1] "\t" value
            }
        }
    }
}
