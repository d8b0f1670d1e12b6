-- Adds photos to an album, each once ever: the bit of its index in `seen` decides.
-- KEYS: the queue's nine, album, seen, paused:albums. ARGV: prefix, album id, then index, cost, key
-- per photo (at most 1,000). Returns {accepted, backlog}, or {-1, 0} for an unknown album, {-2, 0} for a
-- cancelled one.
--! include place.lua
local id, seen = ARGV[2], KEYS[11]
local album = album_of(id)
if not album.class then return {-1, 0} end
if album.gone then return {-2, 0} end
local now = string.format('%.0f', clock())
local entries = {}
for i = 3, #ARGV, 3 do
    local index = ARGV[i]
    if call('SETBIT', seen, index, 1) == 0 then
        entries[#entries + 1] =
            table.concat({id, index, '0 0', ARGV[i + 1], now, ARGV[i + 2]}, ' ')
    end
end
if #entries > 0 then
    push('RPUSH', prefix .. 'wait:' .. album.class .. ':' .. album.tenant, entries)
    activate(album.class, album.tenant)
    album.change = {total = #entries, waiting = #entries}
    write_books()
end
-- What waits in other albums, or of other tenants, that are paused is in nobody's way.
return {#entries, math.max(tonumber(call('GET', backlog) or 0) - paused_waiting(KEYS[12], id) -
    paused_tenants_waiting(album.tenant), 0)}
