-- Who waits, and for how much.
-- KEYS: the queue's nine, weights. ARGV: prefix, how many tenants of each class at most.
-- Returns {class, tenant, photos that wait, its share, 1 when it is paused, class …}: of each class those that are served
-- next, and those that are paused.
--! include place.lua
local most, out = tonumber(ARGV[2]), {}

local function add(class, tenant, halted)
    local count = call('LLEN', prefix .. 'wait:' .. class .. ':' .. tenant)
    if halted == 1 and count == 0 then return end
    for _, v in ipairs({class, tenant, count, call('HGET', KEYS[10], tenant) or '1', halted}) do out[#out + 1] = v end
end

for _, class in ipairs({'interactive', 'bulk'}) do
    for _, tenant in ipairs(call('ZRANGE', active[class], 0, most - 1)) do add(class, tenant, 0) end
    for _, tenant in ipairs(call('SRANDMEMBER', paused_tenants, most)) do add(class, tenant, 1) end
end
return out
