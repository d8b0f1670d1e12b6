-- Gives dead photos another life with fresh counts, a step of the hash per call.
-- KEYS: the queue's nine, album, dead. ARGV: prefix, album id, class word or "", cursor.
-- Returns {next cursor, moved}, or {-1, 0} for an unknown album, {-2, 0} for a cancelled one (its
-- photos stay dead: nothing of it may wait again).
--! include place.lua
local id, dead, class = ARGV[2], KEYS[11], ARGV[3]
local album = album_of(id)
if not album.class then return {'-1', 0} end
if album.gone then return {'-2', 0} end
local now = string.format('%.0f', clock())
local step = call('HSCAN', dead, ARGV[4], 'COUNT', 256)
local moved = 0
for i = 1, #step[2], 2 do
    local word, length, rest = string.match(step[2][i + 1], '^(%S+) (%d+) (.*)$')
    if class == '' or word == class then
        local _, index, _, _, cost, _, key = parse(string.sub(rest, tonumber(length) + 1))
        call('HDEL', dead, index)
        wait_again(id, 0, table.concat({id, index, '0 0', cost, now, key}, ' '))
        count(id, 'dead', 'waiting')
        moved = moved + 1
    end
end
write_waiting()
write_books()
return {step[1], moved}
