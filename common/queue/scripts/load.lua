-- What there is to do and who does it.
-- KEYS: the queue's nine, workers, paused. ARGV: prefix, ms until a worker is forgotten.
-- Returns {waiting, delayed, leased, workers, cost in ms of what waits or is delayed, age in ms of the
-- oldest that waits, whether all is paused}. The cost is that of each list's first entries, times how many there
-- are; what waits of a paused album is not in it.
--! include place.lua
local TENANTS, LOOKS, LOOKS_EACH = 1000, 2000, 64 -- bounds of the work in one call
local now, cost, oldest = clock(), 0, nil

-- Adds up a list of `length`, of which `entries` are the first.
local function weigh(entries, length)
    local sum = 0
    for _, entry in ipairs(entries) do
        local id, ms, since = string.match(entry, '^(%S+) %d+ %d+ %d+ (%d+) (%d+)')
        if id and not album_of(id).gone and not album_of(id).paused then
            sum = sum + tonumber(ms)
            oldest = math.min(oldest or now, tonumber(since))
        end
    end
    if #entries > 0 then cost = cost + sum / #entries * length end
end

local lists = {single}
for class, tenants in pairs(active) do
    for _, tenant in ipairs(call('ZRANGE', tenants, 0, TENANTS - 1)) do
        lists[#lists + 1] = prefix .. 'wait:' .. class .. ':' .. tenant
    end
end
local looks = math.min(LOOKS_EACH, math.ceil(LOOKS / #lists))
for _, list in ipairs(lists) do
    weigh(call('LRANGE', list, 0, looks - 1), call('LLEN', list))
end
local waited = oldest and math.max(now - oldest, 0) or 0
weigh(call('ZRANGE', delayed, 0, looks - 1), call('ZCARD', delayed))
return {tonumber(call('GET', backlog) or 0), call('ZCARD', delayed), call('HLEN', leased),
    call('ZCOUNT', KEYS[10], now - tonumber(ARGV[2]), '+inf'), math.floor(cost), waited,
    call('EXISTS', KEYS[11])}
